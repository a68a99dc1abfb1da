import { expect, it } from 'vitest';

import { queueLimits } from '../../../src/scheduler/gridengine/time-limit.ts';

const queue = (soft: string, hard: string) =>
  `qname                 all.q\ns_rt                  ${soft}\nh_rt                  ${hard}\ns_cpu                 10\n`;

it.each([
  ['INFINITY', 'INFINITY', []],
  ['INFINITY', '1:00:00', [3600]],
  ['90', '0:2:0', [90, 120]],
  ['INFINITY', 'INFINITY,[n1=60],[n2=30]', [60]],
  ['INFINITY', '3600,[n1.site.org=INFINITY]', []],
  ['INFINITY', 'INFINITY,[@short=0:10:0]', [600]],
  ['INFINITY', 'INFINITY, \\\n                      [n1=60]', [60]],
])('reads s_rt %s and h_rt %s of a queue', (soft, hard, expected) => {
  expect(queueLimits(queue(soft, hard), 'n1')).toEqual(expected);
});
