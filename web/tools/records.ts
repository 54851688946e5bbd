// What is written beside the bundle: the licences of what is in it, and what it was built from.
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { Plugin } from 'vite'

const ROOT = join(import.meta.dirname, '..')
// Whatever the bundle depends on. tests/server/test_page_sources.py reads the same list from sources.json.
const SOURCES = ['index.html', 'licences', 'package-lock.json', 'package.json', 'src', 'tools', 'tsconfig.json', 'vite.config.ts']

function filesOf(path: string): string[] {
  if (statSync(path).isFile()) return [path]
  return readdirSync(path).flatMap((name) => filesOf(join(path, name)))
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}

/** SHA-256 of every file, by its path from `root`. */
function hashes(paths: string[], root: string): Record<string, string> {
  const files = paths.flatMap(filesOf).map((path): [string, string] => [relative(root, path), sha256(path)])
  return Object.fromEntries(files.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Name of the package that a module is of, or '' for our own. */
function packageOf(module: string): string {
  const [, inside] = module.split(/node_modules\/(?!.*node_modules\/)/)
  if (!inside) return ''
  const parts = inside.split('/')
  return parts.slice(0, inside.startsWith('@') ? 2 : 1).join('/')
}

function licenceOf(name: string): string {
  const folder = join(ROOT, 'node_modules', name)
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, string>
  const ours = join(ROOT, 'licences', `${name.replace('/', '__')}.txt`)
  const theirs = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file))
  const path = existsSync(ours) ? ours : theirs ? join(folder, theirs) : ''
  if (!path) throw new Error(`${name} has no licence file: put its text in licences/`)
  return `${name} ${version} (${license})\n${'='.repeat(72)}\n\n${readFileSync(path, 'utf8').trim()}\n`
}

/** Write LICENSES.txt and sources.json into the output. */
export function records(): Plugin {
  const packages = new Set<string>()
  let out = ''
  return {
    name: 'records',
    apply: 'build',
    configResolved(config) {
      out = join(config.root, config.build.outDir)
    },
    generateBundle(_, bundle) {
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== 'chunk') continue
        for (const module of chunk.moduleIds) packages.add(packageOf(module))
      }
    },
    closeBundle() {
      const names = [...packages].filter(Boolean).sort()
      writeFileSync(join(out, 'LICENSES.txt'), `What is bundled in this page, besides mass3d itself.\n\n${names.map(licenceOf).join('\n\n')}`)
      const built = hashes([out], out)
      delete built['sources.json']
      const told = { sources: hashes(SOURCES.map((name) => join(ROOT, name)), ROOT), built }
      writeFileSync(join(out, 'sources.json'), `${JSON.stringify(told, null, 1)}\n`)
    },
  }
}
