// The volumes beside a report: scripts, as a browser reads no other file beside a page of file://.
import type { Structure } from './api'

/** A label map to show over a scan. */
export interface Layer {
  name: string
  /** gzip of a NIfTI file, as base64; on the grid of the scan. */
  labels: string
  structures: Structure[]
}

/** What mass3d/pages/viewer.py writes. */
export interface Told {
  key: string
  name: string
  /** Of the values: CT, MR, PET, or null where nobody knows. */
  modality: string | null
  window: [number, number]
  scan: string
  layers: Layer[]
}

const arrived = new Map<string, Told>()
// Every script of a volume calls this.
Object.assign(globalThis, { mass3dVolume: (told: Told) => arrived.set(told.key, told) })

/** Run the script at an address beside the page. Throws where it is not there. */
export function take(address: string): Promise<Told> {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script')
    const key = address.replace(/^.*\//, '').replace(/\.js$/, '')
    const end = (): void => {
      script.remove()
      const told = arrived.get(key)
      arrived.delete(key) // it is large
      if (told) resolve(told)
      else reject(new Error(`${address} is not there, or damaged. It belongs beside this page.`))
    }
    script.onload = end
    script.onerror = end
    script.src = address
    document.head.append(script)
  })
}
