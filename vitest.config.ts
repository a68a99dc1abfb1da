import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          // One lab, one machine: files run one after the other.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Machines are emulated on two shared cores: a run that lost its time slice is told from a defect by a second try, which the report shows.
          retry: 1,
        },
      },
    ],
  },
});
