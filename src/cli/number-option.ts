import { CaddisError } from '../model/errors.ts';

/** A yargs option that is a number from `least` on. Anything else is wrong usage: yargs itself makes NaN of words. */
export function numberOption(
  name: string,
  { byDefault, least, describe }: { byDefault: number; least: number; describe: string },
) {
  return {
    type: 'number',
    default: byDefault,
    describe,
    coerce: (value: unknown): number => {
      if (typeof value === 'number' && value >= least) return value;
      throw new CaddisError(`--${name}: expected one number, ${least} or more`);
    },
  } as const;
}
