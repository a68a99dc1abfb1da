/** An error with a message for people: what was expected, what came, what to do. Everything else that is thrown is a bug and gets a stack trace. */
export class CaddisError extends Error {
  override name = 'CaddisError';
}

/** The node cannot run this job now (memory, libvirt, image, store ...): the job goes back to the queue with this message as its reason. */
export class NodeUnfit extends CaddisError {
  override name = 'NodeUnfit';
  /** True when every job on this node would fail the same way, so that the node should be taken out of service. */
  readonly wholeNode: boolean;
  constructor(message: string, options: { wholeNode: boolean; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.wholeNode = options.wholeNode;
  }
}

export function isNodeUnfit(error: unknown): error is NodeUnfit {
  return error instanceof NodeUnfit;
}

/** The text of any thrown value, without a stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
