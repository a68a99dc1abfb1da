import { type RunCommand, runProgram } from '../run-program.ts';
import { SchedulerUnavailable } from '../scheduler.ts';

/** RunCommand with the cell's environment. Rejects with SchedulerUnavailable, whose message has the command and what it printed. */
export function createRunCommand(binDir: string, environment: Readonly<Record<string, string>>): RunCommand {
  return async (argv, signal) => {
    const result = await runProgram(binDir, environment, argv, signal);
    if (result.failed)
      throw new SchedulerUnavailable(
        `${argv.join(' ')} failed: ${result.all?.trim() || result.shortMessage}`,
      );
    return result.stdout;
  };
}
