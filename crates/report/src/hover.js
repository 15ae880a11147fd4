// Shows the nearest value under the pointer. The page is complete without it.
for (const plot of document.querySelectorAll(".plot")) {
  const svg = plot.querySelector("svg");
  const [[x0, x1], [y0, y1]] = [plot.dataset.x, plot.dataset.y].map((s) => s.split(" ").map(Number));
  const lines = [...svg.querySelectorAll(".main")].map((path) =>
    [...path.getAttribute("d").matchAll(/[ML]([^ ]+) ([^ML]+)/g)].map((m) => [+m[1], +m[2]]));
  const places = plot.dataset.places ? plot.dataset.places.split("|") : null;
  const tip = plot.appendChild(Object.assign(document.createElement("div"), { className: "tip", hidden: true }));
  const say = (v) => (v && Math.abs(v) < 1e-3 ? v.toExponential(2) : v.toLocaleString("en", { maximumSignificantDigits: 4 }));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * 1000;
    const near = lines.filter((line) => line.length)
      .map((line) => line.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)));
    if (!near.length) return;
    const values = near.map((p) => say(y0 + (1 - p[1] / 1000) * (y1 - y0)));
    const x = Math.round(x0 + (near[0][0] / 1000) * (x1 - x0));
    tip.textContent = `${plot.dataset.unit} ${places ? places[x] : x}: ${values.join(" · ")}`;
    tip.style.left = `${near[0][0] / 10}%`;
    tip.classList.toggle("left", near[0][0] > 600);
    tip.hidden = false;
  });
  svg.addEventListener("pointerleave", () => (tip.hidden = true));
}
