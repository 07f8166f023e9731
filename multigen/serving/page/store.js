// The state of the page: one object, replaced as a whole, and those who draw it.
import { Component, useEffect, useReducer } from "./vendor/htm-preact.js";

let state = {
  models: [], // rows of /v1/models
  results: [], // newest first; see run.js
  settings: null, // what the form says; see settings.js
  lock: false, // whether the seed stays when the button is pressed
  base: null, // the result that the form varies: same seed, one thing changed
  open: null, // id of the result that the dialog shows
  pair: [null, null], // ids of the results that are compared
  sheet: null, // rows and columns of the batch sheet
  edit: null, // the medium that is edited: {blob, modality, name, from}
  errors: {}, // what the server has refused, by the field of the form
  unreachable: null, // why there are no models yet
  keyWanted: false, // the dialog for the key is open
  keyed: false, // the server asks for keys
  locked: false, // and has none that it takes: nothing is sent until it has
  notice: null, // one line for the user: {text, error, undo}
};
const listeners = new Set();

export const get = () => state;

export function set(part) {
  state = { ...state, ...(typeof part === "function" ? part(state) : part) };
  listeners.forEach((listener) => listener());
}

export function useStore() {
  const [, redraw] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    listeners.add(redraw);
    redraw();
    return () => listeners.delete(redraw);
  }, []);
  return state;
}

// Change one result; the others stay the same objects, so that their tiles are not drawn again.
export function setResult(id, part) {
  set((s) => ({ results: s.results.map((r) => (r.id === id ? { ...r, ...part } : r)) }));
}

export const result = (id) => state.results.find((r) => r.id === id) ?? null;

let timer;
export function notify(text, { error = false, undo = null } = {}) {
  set({ notice: { text, error, undo } });
  clearTimeout(timer);
  timer = setTimeout(() => set({ notice: null }), error || undo ? 12000 : 4000);
}

// A component that is drawn again only when one of its properties is another object.
export function memo(draw) {
  return class extends Component {
    shouldComponentUpdate(next) {
      const keys = new Set([...Object.keys(next), ...Object.keys(this.props)]);
      return [...keys].some((key) => next[key] !== this.props[key]);
    }
    render(props) {
      return draw(props);
    }
  };
}
