// The four steps, and where one is.
import { h, refill } from './dom'
import { currentStep, type Step } from './jobs'
import type { State } from './state'

const STEPS: [string, string][] = [
  ['Draw', 'Open a scan, add a structure, brush it, save, and use it as a reference.'],
  ['Make the task', 'The model learns your structures from the references. It takes some seconds for each.'],
  ['Segment', 'All scans of the cohort are segmented by the task, in the background.'],
  ['Correct the worst', 'Open the first scan of the table, correct it, use it as another reference, and go on at step 2.'],
]

export function adviceOf(step: Step): string {
  return STEPS[step - 1]![1]
}

export class Guide {
  readonly element = h('ol', { class: 'guide', 'aria-label': 'Steps' })
  private told = ''

  constructor(state: State) {
    state.watch(() => {
      const { project } = state.known
      if (project) this.render(currentStep(project))
    })
  }

  private render(now: Step): void {
    if (this.told === String(now)) return
    this.told = String(now)
    const items = STEPS.map(([title, text], i) =>
      h('li', { class: i + 1 === now ? 'now' : '', 'aria-current': i + 1 === now ? 'step' : null, title: text },
        h('span', { class: 'number', 'aria-hidden': 'true' }, i + 1), title))
    refill(this.element, ...items)
  }
}
