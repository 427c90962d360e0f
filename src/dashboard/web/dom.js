// Making and finding elements.

export const byId = (id) => document.getElementById(id);

// make("li", { class: "x", "aria-label": "y", onclick: f }, child, "text")
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// Writes text where it differs, so that a screen reader hears only of changes.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
