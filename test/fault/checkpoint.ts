import type { FaultPart } from './fault.ts';
import { machinesPart } from './machines/part.ts';
import { nfsPart } from './nfs/part.ts';
import { storePart } from './store/part.ts';

/** `npm run fault -- checkpoint`: what needs no machine comes first. */
export const parts: readonly FaultPart[] = [storePart, nfsPart, machinesPart];
