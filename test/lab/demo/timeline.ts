import { styleText } from 'node:util';

/** What the demo prints: one line per thing that happened, with the seconds since it began. */
export class Timeline {
  readonly #began = performance.now();
  readonly #failures: string[] = [];

  heading(text: string): void {
    console.log(`\n${styleText('bold', text)}`);
  }

  happened(text: string): void {
    console.log(`${this.#time()}  ${text}`);
  }

  /** Output of a job, indented below the line that tells of it. */
  output(text: string): void {
    for (const line of text.trimEnd().split('\n'))
      console.log(`${' '.repeat(11)}${styleText('dim', `| ${line}`)}`);
  }

  /** Something that the demo claims, checked: a demo that shows a failure must say so. */
  claim(holds: boolean, text: string): void {
    console.log(`${this.#time()}  ${holds ? styleText('green', 'yes') : styleText('red', 'NO ')} ${text}`);
    if (!holds) this.#failures.push(text);
  }

  get failures(): readonly string[] {
    return this.#failures;
  }

  #time(): string {
    return `${((performance.now() - this.#began) / 1000).toFixed(1).padStart(7)} s`;
  }
}
