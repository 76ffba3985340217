// Files that are dropped on a part of the page: it is marked while they are over it.

const hasFile = (event) => [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file");

// `target` takes them as long as `open()`; `mark(on)` shows it, `take(file)` gets the first.
export function takeFileDrops(target, { open = () => true, mark, take }) {
  const meant = (event) => hasFile(event) && open();
  // Each element that is passed on the way is entered and left.
  let depth = 0;
  const go = (to) => {
    depth = Math.max(0, to);
    mark(depth > 0);
  };
  target.addEventListener("dragenter", (event) => meant(event) && go(depth + 1));
  target.addEventListener("dragleave", () => go(depth - 1));
  target.addEventListener("dragover", (event) => meant(event) && event.preventDefault());
  target.addEventListener("drop", (event) => {
    go(0);
    // A widget of an extension that takes files keeps them.
    if (!meant(event) || event.defaultPrevented) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}
