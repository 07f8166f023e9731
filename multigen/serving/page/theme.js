// Dark or light: as the system says, until the user picks one.
import { html, useState } from "./vendor/htm-preact.js";

const KEY = "multigen-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const NAMES = { auto: "automatic", light: "light", dark: "dark" };
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

function apply(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

apply(localStorage.getItem(KEY) ?? "auto");

export function ThemeButton() {
  const [theme, setTheme] = useState(localStorage.getItem(KEY) ?? "auto");
  const change = () => {
    const next = NEXT[theme];
    localStorage.setItem(KEY, next);
    apply(next);
    setTheme(next);
  };
  return html`<button class="plain" onClick=${change} aria-label=${`Colours: ${NAMES[theme]}`} title=${`Colours: ${NAMES[theme]}`}>${SIGNS[theme]}</button>`;
}
