// Packing and unpacking, by the browser itself.

/** Bytes of a file, unzipped where they are. */
export async function unzipped(file: Blob): Promise<ArrayBuffer> {
  const head = new Uint8Array(await file.slice(0, 2).arrayBuffer())
  if (head[0] !== 0x1f || head[1] !== 0x8b) return file.arrayBuffer()
  return new Response(file.stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer()
}

/** Bytes zipped: most of a label map is background. */
export async function zipped(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('gzip'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

/** A file that is written as text. */
export function ofBase64(text: string): Blob {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))])
}
