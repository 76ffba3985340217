// Small helpers to make elements. Text always goes in as text, never as markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PATHS = {
  download: "M12 4v11m0 0 4.5-4.5M12 15l-4.5-4.5M5 20h14",
  star: "m12 3.6 2.6 5.3 5.8.8-4.2 4.1 1 5.8-5.2-2.7-5.2 2.7 1-5.8-4.2-4.1 5.8-.8z",
  bin: "M5 7h14M10 7V4.5h4V7m-7.5 0 .8 12.5h9.4L17.5 7M10.2 11v5M13.8 11v5",
  seed: "M12 20v-8m0 0c0-4 2.5-6.5 7-7 0 4.5-2.5 7-7 7zm0 2.5c0-3-2-5-6-5.5 0 3.5 2.5 5.5 6 5.5z",
  recall: "M4 12a8 8 0 1 0 2.5-5.800M4 4v4.5h4.5",
  close: "M6 6l12 12M18 6 6 18",
  skip: "M6 5.5v13l9-6.5zM18 5.5v13",
  copy: "M9 9h10v11H9zM5 15V4h10",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zm5-1.5L20 20",
  sun: "M12 16.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM12 2.5v2m0 15v2m9.5-9.5h-2m-15 0h-2m16.200-6.700-1.400 1.400M6.700 17.300l-1.400 1.400m13.400 0-1.400-1.400M6.700 6.700 5.300 5.300",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  auto: "M12 3.5a8.5 8.5 0 1 0 0 17zm0 0a8.5 8.5 0 0 1 0 17",
  grip: "M9 5.5h.01M15 5.5h.01M9 12h.01M15 12h.01M9 18.5h.01M15 18.5h.01",
  linked: "M9.5 14.5l5-5M11 7.500l1.800-1.800a3.900 3.900 0 0 1 5.500 5.500L16.500 13M13 16.500l-1.800 1.800a3.900 3.900 0 0 1-5.500-5.500L7.500 11",
  unlinked: "M11 7.500l1.800-1.800a3.900 3.900 0 0 1 5.500 5.500L16.500 13M13 16.500l-1.800 1.800a3.900 3.900 0 0 1-5.500-5.500L7.500 11M4 9l2 .8M9 4l.8 2",
  more: "M4 7h16M4 12h16M4 17h10",
  info: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16zm0-9v5m0-8.200v.1",
  plus: "M12 5v14M5 12h14",
  check: "M5 12.5l4.500 4.500L19 7.500",
  grid: "M4 4h6.500v6.500H4zM13.500 4H20v6.500h-6.500zM4 13.500h6.500V20H4zM13.500 13.500H20V20h-6.500z",
  save: "M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6",
  blend: "M9.500 17a6 6 0 1 1 0-12 6 6 0 0 1 0 12zm5 2a6 6 0 1 0 0-12 6 6 0 0 0 0 12z",
  bake: "M4 10.500 12 6l8 4.500-8 4.500zM4 10.500V16l8 4.500 8-4.500v-5.500M12 1.500v5m-2.500-2L12 7l2.500-2.500",
  extract: "M4 13v7h12v-7M10 16V4m-4 4 4-4 4 4M20 9v11",
  layers: "M12 4 3.500 8.500 12 13l8.500-4.500zM3.500 12.500 12 17l8.500-4.500M3.500 16.500 12 21l8.500-4.500",
  shrink: "M9.500 4v5.500H4M14.500 20v-5.500H20M9.500 9.500 4 4m10.500 10.500L20 20",
  convert: "M4 8.500h14m-4-4 4 4-4 4M20 15.500H6m4-4-4 4 4 4",
  label: "M4 5v6.500l8.500 8.500 7-7L11 4.500H4.500zM8 8.500h.01",
  upload: "M12 16V4M7.500 8.500 12 4l4.500 4.500M5 20h14",
  memory: "M6 6h12v12H6zM9.500 9.500h5v5h-5zM9 3v3m6-3v3M9 18v3m6-3v3M3 9h3m-3 6h3m12-6h3m-3 6h3",
  gauge: "M5 17.500a8.500 8.500 0 1 1 14 0M12 14.500l4-5.500M12 14.500h.01",
  eject: "M6 14.500 12 7l6 7.500zM6 18.500h12",
  enlarge: "M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7",
  pixels: "M4 4h16v16H4zM12 4v16M4 12h16",
  brush: "M20 4c-5 2.500-9 6.500-11 10l1.500 1.500c3.500-2 7.500-6 9.500-11.500zM8 15.500c-2.500 0-2.500 3-5 4 3.500 1.500 7.500.5 7-3z",
  eraser: "M9 19.500 3.500 14 13.500 4l7 7L12 19.500zM8.500 9l7 7M9 19.500h11.500",
  undo: "M8.500 5 4 9.500 8.500 14M4 9.500h10a5.500 5.500 0 0 1 0 11h-4",
  redo: "M15.500 5 20 9.500 15.500 14M20 9.500H10a5.500 5.500 0 0 0 0 11h4",
  picture: "M4 5h16v14H4zM4 16l5-5 4.500 4.500 2.500-2.500 4 4M15.500 9.500h.01",
  rebuild: "M5 6.5c0-1.400 3.100-2.5 7-2.5s7 1.100 7 2.5S15.900 9 12 9 5 7.900 5 6.5zm0 0v11C5 18.900 8.100 20 12 20s7-1.100 7-2.5v-11M5 12c0 1.400 3.100 2.5 7 2.5s7-1.100 7-2.5",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "easel-icon");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

// A button with an icon; the label is read aloud and shown as a tooltip, or beside the icon with `wide`.
export function tool(name, label, onclick, { wide = false, pressed = null } = {}) {
  return h(
    "button",
    {
      type: "button",
      class: wide ? "easel-tool easel-wide" : "easel-tool",
      title: wide ? null : label,
      "aria-label": wide ? null : label,
      "aria-pressed": pressed === null ? null : String(pressed),
      onclick,
    },
    icon(name),
    wide ? h("span", { text: label }) : null,
  );
}

export function pictureUrl(image) {
  return image.url.startsWith("/") ? image.url : `/${image.url}`;
}

// A small version for grids; `width` in CSS pixels.
export function thumbUrl(image, width) {
  const pixels = Math.ceil(width * Math.min(window.devicePixelRatio || 1, 2));
  return pictureUrl(image).replace(/^\/outputs\//, "/thumbs/") + `?w=${pixels}`;
}

// Let the browser save what lies at an address under a name.
export function saveAs(address, name) {
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

export function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  saveAs(address, name);
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 1) return "less than a second";
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function when(epoch) {
  const date = new Date(epoch * 1000);
  const today = new Date().toDateString() === date.toDateString();
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return today ? `today ${time}` : `${date.toLocaleDateString([], { dateStyle: "medium" })} ${time}`;
}

export function shorten(text, length = 80) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

// Put these, and nothing else, into a list. What stands where it belongs is not touched: the focus would be lost.
export function arrange(list, elements) {
  const had = list.contains(document.activeElement) ? document.activeElement : null;
  const kept = new Set(elements);
  for (const old of [...list.children]) if (!kept.has(old)) old.remove();
  elements.forEach((element, place) => {
    if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
  });
  if (had && document.activeElement !== had && list.contains(had)) had.focus({ preventScroll: true });
}

// Draw at most once a frame, however many events arrive.
export function onceAFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}
