import { sizeText } from '../../model/units.ts';

/** `-l h_vmem=300M` where the job was asked for by that complex, else by ours; both count for each slot. */
export function askMemory(bytes: number, source: string | undefined, cpus: number): string {
  const complex = /^(h_vmem|mem_free|virtual_free)=/.exec(source ?? '')?.[1] ?? 'vm_mem';
  return `-l ${complex}=${sizeText(bytes / cpus)}`;
}
