import { defineConfig, type UserConfig } from 'vite'
import { records } from './tools/records.ts'

const common: UserConfig = {
  resolve: { alias: { zarrita: new URL('./tools/no-zarr.ts', import.meta.url).pathname } },
  plugins: [records()],
}
const build = { emptyOutDir: true, target: 'es2022', chunkSizeWarningLimit: 1000 }

/** The page of `mass3d serve`. */
const page: UserConfig = {
  ...common,
  base: '/',
  build: { ...build, outDir: '../src/mass3d/server/page', modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
  // `npm run dev` shows the sources beside a server that runs: MASS3D=http://127.0.0.1:8765 npm run dev
  server: { proxy: { '/api': process.env['MASS3D'] ?? 'http://127.0.0.1:8765' } },
}

/** The viewer of reports: one plain script, as browsers load no module from file://. */
const report: UserConfig = {
  ...common,
  build: {
    ...build,
    outDir: '../src/mass3d/pages/viewer',
    lib: { entry: 'src/report.ts', formats: ['iife'], name: 'mass3dReport', fileName: () => 'viewer.js' },
  },
}

export default defineConfig(({ mode }) => (mode === 'report' ? report : page))
