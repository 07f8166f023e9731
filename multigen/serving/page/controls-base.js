// What controls need of Preact, and an id that is the same as long as a control is there.
import { useState } from "./vendor/htm-preact.js";

export * from "./vendor/htm-preact.js";

let count = 0;
export function useId() {
  const [id] = useState(() => `f${(count += 1)}`);
  return id;
}
