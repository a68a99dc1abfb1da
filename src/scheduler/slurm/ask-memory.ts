import { sizeText } from '../../model/units.ts';

/** `--mem=300M`, or `--mem-per-cpu` where the job was asked for so. */
export function askMemory(bytes: number, source: string | undefined, cpus: number): string {
  return source?.startsWith('--mem-per-cpu')
    ? `--mem-per-cpu=${sizeText(bytes / cpus)}`
    : `--mem=${sizeText(bytes)}`;
}
