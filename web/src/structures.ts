// The list of structures: which one is drawn, its colour, whether it is seen, how large it is.
import { api, type Structure } from './api'
import { ask, attempt, choose } from './dialog'
import { button, h, refill } from './dom'
import { volumeText } from './order'
import type { State } from './state'

export class Structures {
  readonly element = h('section', { 'aria-label': 'Structures' })
  readonly hidden = new Set<number>()
  active = 0
  /** Volumes in ml by value, of what is on the screen. */
  volumes = new Map<number, number>()
  /** Called when the active one, a colour or what is hidden has changed. */
  changed: () => void = () => undefined
  /** Called to move the crosshair to a structure. */
  find: (value: number) => void = () => undefined
  private readonly state: State
  private readonly list = h('ul', { class: 'structures' })
  private readonly name: HTMLInputElement
  private told = ''

  constructor(state: State) {
    this.state = state
    this.name = h('input', { type: 'text', placeholder: 'Name of a new structure', 'aria-label': 'Name of a new structure', maxlength: 64, required: true })
    const add = h('form', { class: 'row', submit: (event) => void this.add(event) }, this.name, h('button', { type: 'submit' }, 'Add'))
    this.element.append(h('h3', {}, 'Structures'), this.list, add)
    state.watch(() => this.render())
  }

  get all(): Structure[] {
    return this.state.known.project?.structures ?? []
  }

  askName(): void {
    this.name.focus()
  }

  /** Choose by place in the list, from 1. */
  chooseNth(n: number): void {
    const structure = this.all[n - 1]
    if (structure) this.choose(structure.value)
  }

  /** Give a list to the server. New ones need no value and no colour. */
  async set(list: Partial<Structure>[]): Promise<boolean> {
    return attempt(async () => {
      this.state.set({ project: await api.setStructures(list) })
    })
  }

  render(): void {
    const { all } = this
    if (!all.some((structure) => structure.value === this.active)) this.active = all[0]?.value ?? 0
    const told = JSON.stringify([all, this.active, [...this.hidden], [...this.volumes]])
    if (told === this.told) return
    this.told = told
    const empty = h('li', { class: 'quiet' }, 'None yet. Give one a name to begin.')
    const focus = (document.activeElement as HTMLElement | null)?.dataset['key']
    refill(this.list, ...(all.length > 0 ? all.map((structure) => this.item(structure)) : [empty]))
    if (focus) this.list.querySelector<HTMLElement>(`[data-key="${CSS.escape(focus)}"]`)?.focus()
    this.changed()
  }

  private choose(value: number): void {
    this.active = value
    this.render()
  }

  private item({ name, value, colour }: Structure): HTMLElement {
    const ml = this.volumes.get(value)
    const seen = !this.hidden.has(value)
    const active = value === this.active
    return h('li', { class: active ? 'active' : '' },
      h('input', {
        type: 'color', value: colour, title: 'Colour', 'aria-label': `Colour of ${name}`, 'data-key': `c${value}`,
        change: (event) => void this.recolour(value, (event.target as HTMLInputElement).value),
      }),
      h('div', { class: 'named' },
        button(name, () => this.choose(value), {
          class: 'choice', 'aria-pressed': String(active), title: `Draw ${name}`, 'data-key': `n${value}`,
        }),
        h('span', { class: 'quiet ml' }, ml === undefined ? '' : volumeText(ml))),
      button('◎', () => this.find(value), { class: 'icon', disabled: ml === undefined, 'aria-label': `Go to ${name}`, title: 'Go there', 'data-key': `g${value}` }),
      button(seen ? '●' : '○', () => this.toggle(value), {
        class: 'icon', 'aria-pressed': String(seen), 'aria-label': `Show ${name}`, title: seen ? 'Hide' : 'Show', 'data-key': `s${value}`,
      }),
      button('✎', () => void this.rename(name, value), { class: 'icon', 'aria-label': `Rename ${name}`, title: 'Rename', 'data-key': `r${value}` }),
      button('×', () => void this.remove(name, value), { class: 'icon', 'aria-label': `Remove ${name}`, title: 'Remove', 'data-key': `x${value}` }))
  }

  private toggle(value: number): void {
    if (!this.hidden.delete(value)) this.hidden.add(value)
    this.render()
  }

  private async add(event: Event): Promise<void> {
    event.preventDefault()
    const name = this.name.value.trim()
    if (!name) return
    const before = new Set(this.all.map((structure) => structure.value))
    if (!(await this.set([...this.all, { name }]))) return
    this.name.value = ''
    this.name.blur() // so that the next key is a shortcut again
    this.active = this.all.find((structure) => !before.has(structure.value))?.value ?? this.active
    this.render()
  }

  private recolour(value: number, colour: string): Promise<boolean> {
    return this.set(this.all.map((structure) => (structure.value === value ? { ...structure, colour } : structure)))
  }

  /** Another name for the same value and colour: what was drawn stays, and a task is due anew. */
  private async rename(name: string, value: number): Promise<void> {
    const answer = await ask('Rename a structure', 'New name', name, 'Rename')
    if (!answer || answer === name) return
    await this.set(this.all.map((structure) => (structure.value === value ? { ...structure, name: answer } : structure)))
  }

  private async remove(name: string, value: number): Promise<void> {
    const answer = await choose('Remove a structure', `Remove ${name} from the list?`, { keep: 'Keep it', remove: 'Remove' })
    if (answer === 'remove') await this.set(this.all.filter((structure) => structure.value !== value))
  }
}
