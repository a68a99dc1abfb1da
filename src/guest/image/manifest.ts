import { z } from 'zod';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits');
const part = z.object({ bytes: z.number().int().nonnegative(), sha256 });

/** image.json, version 1. Only the parts' hashes go into the image's id; the rest says where it came from. */
export const manifestSchema = z.object({
  format: z.literal(1),
  id: sha256,
  createdAt: z.iso.datetime(),
  createdBy: z.string(),
  source: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('host'), exclude: z.array(z.string()), opt: z.boolean() }),
    z.object({ kind: z.literal('packages'), packages: z.array(z.string()), files: z.array(z.string()) }),
    z.object({ kind: z.literal('programs'), programs: z.array(z.string()), paths: z.array(z.string()) }),
  ]),
  kernel: z.object({ package: z.string(), version: z.string(), release: z.string() }),
  bootModules: z.array(z.string()),
  parts: z.object({ vmlinux: part, initrd: part, 'root.erofs': part }),
});

export type ImageManifest = z.infer<typeof manifestSchema>;
export type ImageSource = ImageManifest['source'];
export type ImagePart = keyof ImageManifest['parts'];

export const IMAGE_PARTS = ['vmlinux', 'initrd', 'root.erofs'] as const satisfies readonly ImagePart[];

/** Bytes of all parts. */
export function imageBytes({ parts }: ImageManifest): number {
  return IMAGE_PARTS.reduce((sum, name) => sum + parts[name].bytes, 0);
}
