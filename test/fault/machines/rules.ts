/** What the interposer does when a job comes to a point of its save or restore. */
export interface Rule {
  readonly id: string;
  /** A step is this job's when its text contains one of these: the job's key, its machine, the end of its tap's name. */
  readonly needles: readonly string[];
  /** As the trace names it: `rename generation`, `write draft/memory`, `rpc snapshot sent`. */
  readonly point: string;
  /** The how manieth of that name since the rule was given, from 1. */
  readonly nth: number;
  readonly act: Act;
  /** Between the point and the act, in milliseconds: for calls that take long. */
  readonly delayMs: number;
}

/**
 * `hold` lets caddisd run on and keeps this one step from being finished until the file `go-<id>` is there; `tell` only says that the point was reached.
 */
type Act = 'kill-caddisd' | 'kill-libvirtd' | 'kill-qemu' | 'hold' | 'tell';

/** One line of `trace`: a step that has been done, as it happened. */
export interface Traced {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly point: string;
  /** Paths, each followed by a space, or the machine's name: by which a job knows its own. */
  readonly text: string;
}

/** One line of `fired`. */
export interface Fired {
  readonly id: string;
  readonly at: number;
}

/** Names of the files in the directory that a caddisd under test and its tester share. */
export const files = { rules: 'rules.json', trace: 'trace', fired: 'fired' } as const;

/** The directory's name in caddisd's environment. */
export const DIRECTORY_VARIABLE = 'CADDIS_TEST_INTERPOSE';

/** Steps that change a file, by what the file is to a save or a restore; undefined for files that belong to neither. */
export function pointOf(step: string, path: string): string | undefined {
  const what = fileKind(path);
  return what === undefined ? undefined : `${step} ${what}`;
}

const KINDS: readonly (readonly [RegExp, string])[] = [
  [/^\/run\/caddis\/jobs\/[^/]+\.caddis-[^/]+$/, 'link beside'],
  [/^\/run\/caddis\/jobs\/[^/]+$/, 'link'],
  [/^\/run\/caddis\/machines\/[^/]+\/qemu$/, 'places/qemu'],
  [/^\/run\/caddis\/machines\/[^/]+\/qemu\.pid$/, 'places/qemu.pid'],
  [/^\/run\/caddis\/machines\/[^/]+$/, 'places'],
  [/\/claims\/\.claim-[^/]+$/, 'claim beside'],
  [/\/claims\/\.probe-[^/]+$/, 'claim probe'],
  [/\/claims\/\d+\.released$/, 'claim release'],
  [/\/claims\/\d+$/, 'claim'],
  [/\/claims$/, 'claims'],
  [/\/generations\/\.removed-/, 'removed generation'],
  [/\/generations\/\.[^/]+\/(.+)$/, 'draft/$1'],
  [/\/generations\/\.[^/]+$/, 'draft'],
  [/\/generations\/\d+\/(.+)$/, 'generation/$1'],
  [/\/generations\/\d+$/, 'generation'],
  [/\/generations$/, 'generations'],
  [/\/store\/jobs\/\.removed-/, 'removed job'],
  [/\/store\/jobs\/[^/]+$/, 'job'],
  [/\/intents\/[^/]+\.new$/, 'intent beside'],
  [/\/intents\/[^/]+\.json$/, 'intent'],
  [/\/intents\/[^/]+\.move$/, 'move note'],
  [/\/intents\/[^/]+\.parking$/, 'parking note'],
  [/\/caddis-[0-9a-f]{12}\.memory$/, 'staged memory'],
  [/\/caddis-[0-9a-f]{12}\.img\.part$/, 'scratch part'],
  [/\/caddis-[0-9a-f]{12}\.img$/, 'scratch disk'],
  [/\/addresses\/\.claim-/, 'address beside'],
  [/\/addresses\/[\d.]+$/, 'address'],
];

function fileKind(path: string): string | undefined {
  for (const [pattern, name] of KINDS) {
    const match = pattern.exec(path);
    if (match) return name.replace('$1', match[1] ?? '');
  }
  return undefined;
}
