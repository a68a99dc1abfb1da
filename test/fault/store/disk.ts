/** A file system's state in memory: what programs see, and what of it is on stable storage. POSIX promises no more than `crash` leaves. */

type Change =
  | { readonly kind: 'write'; readonly position: number; readonly data: Uint8Array }
  | { readonly kind: 'truncate'; readonly bytes: number };

export class FileNode {
  content = new Uint8Array();
  modifiedMs = 0;
  #durable = new Uint8Array();
  #pending: Change[] = [];

  change(change: Change): void {
    this.content = apply(this.content, change);
    this.#pending.push(change);
  }

  sync(): void {
    this.#durable = this.content;
    this.#pending = [];
  }

  /** After a crash every change since the last sync is there, is not, or a write is there in part: each for itself. */
  afterCrash(fate: Fate): FileNode {
    const left = new FileNode();
    left.modifiedMs = this.modifiedMs;
    left.content = this.#pending.reduce((content, change) => {
      const kept = fate.portion();
      if (kept === 0) return content;
      if (kept === 1 || change.kind === 'truncate') return apply(content, change);
      const torn = change.data.subarray(0, Math.floor(change.data.length * kept));
      return apply(content, { ...change, data: torn });
    }, this.#durable);
    left.sync();
    return left;
  }
}

/** What one operation did to names: one step, which is there after a crash or is not. */
type Renaming = readonly (readonly [name: string, node: Node | undefined])[];

export class DirectoryNode {
  readonly names = new Map<string, Node>();
  modifiedMs = 0;
  #durable = new Map<string, Node>();
  #pending: Renaming[] = [];

  change(renaming: Renaming): void {
    applyNames(this.names, renaming);
    this.#pending.push(renaming);
  }

  sync(): void {
    this.#durable = new Map(this.names);
    this.#pending = [];
  }

  /** Changes of names that were not synced are lost each for itself: so also a later one may be there without an earlier one. */
  afterCrash(fate: Fate, copies = new Map<Node, Node>()): DirectoryNode {
    const names = new Map(this.#durable);
    for (const renaming of this.#pending) if (fate.kept()) applyNames(names, renaming);
    const left = new DirectoryNode();
    left.modifiedMs = this.modifiedMs;
    for (const [name, node] of names) {
      const copy =
        copies.get(node) ??
        (node instanceof FileNode ? node.afterCrash(fate) : node.afterCrash(fate, copies));
      copies.set(node, copy);
      left.names.set(name, copy);
    }
    left.sync();
    return left;
  }

  /** Brings everything below to stable storage. */
  settle(): void {
    this.sync();
    for (const node of this.names.values()) {
      if (node instanceof FileNode) node.sync();
      else node.settle();
    }
  }
}

export type Node = FileNode | DirectoryNode;

/** Decides what a crash leaves. */
export interface Fate {
  /** Only the process died. */
  readonly losesNothing: boolean;
  kept(): boolean;
  /** Of a write: 0 = lost, 1 = all of it, between = its beginning. */
  portion(): number;
}

/** `lost`: nothing that was not synced is there; `kept`: all of it, as when only the process died; a number: seeded, each change for itself. */
export function fateOf(random: 'lost' | 'kept' | ((below: number) => number)): Fate {
  if (random === 'lost') return { losesNothing: false, kept: () => false, portion: () => 0 };
  if (random === 'kept') return { losesNothing: true, kept: () => true, portion: () => 1 };
  return {
    losesNothing: false,
    kept: () => random(2) === 1,
    portion: () => [0, 1, random(100) / 100][random(3)] as number,
  };
}

function apply(content: Uint8Array<ArrayBuffer>, change: Change): Uint8Array<ArrayBuffer> {
  const bytes =
    change.kind === 'truncate'
      ? change.bytes
      : Math.max(content.length, change.position + change.data.length);
  const next = new Uint8Array(bytes);
  next.set(content.subarray(0, bytes));
  if (change.kind === 'write') next.set(change.data, change.position);
  return next;
}

function applyNames(names: Map<string, Node>, renaming: Renaming): void {
  for (const [name, node] of renaming) {
    if (node) names.set(name, node);
    else names.delete(name);
  }
}
