// Reads out the values under the pointer, or under a cursor moved by the arrow keys. The page is whole without it.
for (const plot of document.querySelectorAll(".plot")) {
  const lines = JSON.parse(plot.querySelector("script").textContent);
  const field = plot.querySelector(".field");
  const places = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const shown = [];
  let at = -1;
  const add = (kind, style) => {
    const element = document.createElement("div");
    element.className = kind;
    Object.assign(element.style, style);
    field.append(element);
    shown.push(element);
    return element;
  };
  const clear = () => {
    for (const element of shown.splice(0)) element.remove();
  };
  const nearest = (values, wanted) => {
    let best = 0;
    values.forEach((value, index) => {
      if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = index;
    });
    return best;
  };
  const show = (index) => {
    clear();
    at = index;
    const place = places[at];
    add("cursor", { left: `${place * 100}%` });
    const box = add("read", place < 0.5 ? { left: `calc(${place * 100}% + 12px)` } : { right: `calc(${(1 - place) * 100}% + 12px)` });
    const head = document.createElement("strong");
    box.append(head);
    for (const line of lines) {
      const point = nearest(line.x, place);
      if (line.x.length === 0 || Math.abs(line.x[point] - place) > 0.02) continue;
      if (line.x[point] === place || !head.textContent) head.textContent = line.at[point];
      add(`dot c${line.colour}`, { left: `${line.x[point] * 100}%`, top: `${line.y[point] * 100}%` });
      const row = document.createElement("span");
      row.className = `c${line.colour}`;
      const value = document.createElement("em");
      value.textContent = `${line.name} ${line.text[point]}`;
      row.append("\u25CF ", value);
      box.append(row);
    }
  };
  field.addEventListener("pointermove", (event) => {
    const room = field.getBoundingClientRect();
    show(nearest(places, (event.clientX - room.left) / room.width));
  });
  field.addEventListener("pointerleave", clear);
  field.addEventListener("blur", clear);
  field.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Math.min(places.length - 1, Math.max(0, at + step)));
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
