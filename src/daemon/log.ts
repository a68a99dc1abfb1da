import winston from 'winston';

import type { Config } from '../config/schema.ts';

export type Log = winston.Logger;

/** The daemon's log: to stderr (the journal takes it) or to `log_file`. Children carry job and incarnation into every line. */
export function createLog(config: Config): Log {
  const line = winston.format.printf(
    ({ level, message, timestamp, job, incarnation, host: _host, ...rest }) => {
      const subject = job ? ` [${String(job)}${incarnation ? ` ${String(incarnation)}` : ''}]` : '';
      const extra = Object.keys(rest).length > 0 ? ` ${JSON.stringify(rest)}` : '';
      return `${String(timestamp)} ${level}${subject} ${String(message)}${extra}`;
    },
  );
  return winston.createLogger({
    level: config.log_level,
    format: winston.format.combine(winston.format.timestamp(), line),
    transports: [
      config.log_file
        ? new winston.transports.File({ filename: config.log_file })
        : new winston.transports.Console({ stderrLevels: ['error', 'warn', 'info', 'debug'] }),
    ],
  });
}
