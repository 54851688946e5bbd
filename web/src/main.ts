// The page: which view is shown, and how they hang together.
import './style.css'
import { Actions, connection, Rounds } from './actions'
import { CaseView } from './caseview'
import { button, h, setText } from './dom'
import { Guide } from './guide'
import { listen, showHelp, type Shortcut } from './keys'
import { neighbour } from './order'
import { State } from './state'
import { Table } from './table'

const state = new State()
const table = new Table(state, (id) => go(id))
const view = new CaseView(state, {
  back: () => go(''),
  next: (step) => {
    const other = neighbour(table.shown(), view.id, step)
    if (other) go(other.id)
  },
})
const actions = new Actions(state)
actions.before = () => view.leave()
const rounds = new Rounds(state, (id) => go(id))
const cohort = h('div', { class: 'overview' }, table.element, rounds.element)
view.element.hidden = true
const main = h('main', {}, cohort, view.element)

function header(): HTMLElement {
  const name = h('span', { class: 'project' })
  const model = h('span', { class: 'quiet model' })
  state.watch(() => {
    const { project } = state.known
    setText(name, project?.name ?? '')
    setText(model, project ? `model ${project.model.split('/').pop()}` : '')
    model.title = project?.model ?? ''
    document.title = project ? `${view.id ? `${view.id} · ` : ''}${project.name} · mass3d` : 'mass3d'
  })
  return h('header', {}, h('h1', {}, 'mass3d'), name, model, new Guide(state).element,
    button('?', help, { class: 'round', 'aria-label': 'Keys', title: 'Keys (?)' }))
}

/** A case in the address, so that the browser's own back and forward work. */
function go(id: string): void {
  location.hash = id ? `#/scan/${encodeURIComponent(id)}` : '#/'
}

function askedFor(): string {
  const found = /^#\/scan\/(.+)$/.exec(location.hash)
  try {
    return found ? decodeURIComponent(found[1]!) : ''
  } catch {
    return ''
  }
}

async function follow(): Promise<void> {
  const id = askedFor()
  if (id === view.id) return
  if (!(await view.leave())) return go(view.id)
  if (askedFor() !== id) return follow()
  const from = view.id
  cohort.hidden = id !== ''
  view.element.hidden = id === ''
  if (id === '') {
    view.hide()
    table.focus(from)
  } else {
    table.focus(id)
    await view.show(id)
  }
}

const common: Shortcut[] = [{ key: '?', told: 'these keys', does: help }]
const inTable: Shortcut[] = [
  { key: 'j', told: 'next row', does: () => walk(1) },
  { key: 'k', told: 'row before', does: () => walk(-1) },
  { key: 'ArrowDown', told: '', does: () => walk(1) },
  { key: 'ArrowUp', told: '', does: () => walk(-1) },
  { key: 'o', shown: 'o or enter', told: 'open the scan', does: () => table.focused && go(table.focused) },
  { key: '/', told: 'filter', does: () => table.filter.focus() },
  { key: 'Escape', told: '', does: () => (document.activeElement as HTMLElement | null)?.blur() },
]

function walk(step: 1 | -1): void {
  const onRow = document.activeElement?.getAttribute('role') === 'row'
  const to = onRow ? neighbour(table.shown(), table.focused, step)?.id : table.focused
  if (to) table.focus(to)
}

function help(): void {
  showHelp([['Table', [...inTable, ...common]], ...view.shortcuts()])
}

function shortcuts(): Shortcut[] {
  return [...common, ...(view.id ? view.shortcuts().flatMap(([, keys]) => keys) : inTable)]
}

document.body.append(
  connection(state), header(), main, actions.element,
  h('div', { id: 'said', role: 'status', hidden: true }),
)
listen(shortcuts)
window.addEventListener('hashchange', () => void follow())
window.addEventListener('beforeunload', (event) => view.unsaved && event.preventDefault())
await state.refresh()
state.poll()
await follow()
