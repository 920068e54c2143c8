/* A map whose points show what they stand for. Called with a key and the map's data; starts every
   figure of that key that has not been started yet, so that a page may hold several. */
(function (key, data) {
  "use strict";

  const TURN = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const HINT = "Point at a patch, tap it, or click the map and use the arrow keys.";
  const NOTHING = "nothing";

  function element(tag, name, parent) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (parent) parent.append(made);
    return made;
  }

  function choice(bar, title, names, changed) {
    const label = element("label", "", bar);
    label.append(title);
    const select = element("select", "", label);
    for (const name of names) select.add(new Option(name, name));
    select.addEventListener("change", () => changed(select.value));
    label.hidden = names.length < 2;
    label.style.display = label.hidden ? "none" : "";
  }

  /* Text lighter than middle grey stands on a dark ground. */
  function ground(root) {
    const [red, green, blue] = getComputedStyle(root).color.match(/[\d.]+/g).map(Number);
    return 0.3 * red + 0.6 * green + 0.1 * blue > 128 ? "dark" : "light";
  }

  function start(root) {
    const live = root.querySelector(".book-hover-live");
    const bar = element("div", "book-hover-bar", live);
    const canvas = element("canvas", "", element("div", "book-hover-map", live));
    const card = element("div", "book-hover-card", live);
    const thumbnail = element("canvas", "", card);
    const text = element("p", "", card);
    const legend = element("div", "book-hover-legend", live);
    const sheet = new Image();
    const state = {
      points: Object.keys(data.points)[0],
      group: Object.keys(data.groups)[0],
      selection: Object.keys(data.selections)[0] || NOTHING,
      only: -1,
      at: -1,
    };
    const marked = {};
    for (const name in data.selections) marked[name] = new Set(data.selections[name]);
    marked[NOTHING] = new Set();

    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", data.alt + " The arrow keys go from patch to patch.");
    legend.setAttribute("role", "group");
    legend.setAttribute("aria-label", "Show one group only");
    text.setAttribute("aria-live", "polite");
    text.textContent = HINT;
    thumbnail.width = thumbnail.height = data.sheet.side;

    const colours = () => data.groups[state.group][ground(root)];

    /* Centre of a point on the canvas, in its own pixels. */
    function place(index) {
      const xy = data.points[state.points];
      const margin = 14;
      const room = canvas.clientWidth - 2 * margin;
      return [margin + (xy[2 * index] / 1000) * room, margin + (xy[2 * index + 1] / 1000) * room];
    }

    function dot(pen, index, size) {
      const [x, y] = place(index);
      pen.beginPath();
      pen.arc(x, y, size, 0, 2 * Math.PI);
      pen.fill();
    }

    function diamond(pen, index, size) {
      const [x, y] = place(index);
      pen.beginPath();
      pen.moveTo(x, y - size);
      pen.lineTo(x + size, y);
      pen.lineTo(x, y + size);
      pen.lineTo(x - size, y);
      pen.closePath();
      pen.fill();
      pen.stroke();
    }

    function draw() {
      const ratio = window.devicePixelRatio || 1;
      const side = canvas.clientWidth;
      if (!side) return;
      canvas.width = canvas.height = Math.round(side * ratio);
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      pen.strokeStyle = getComputedStyle(root).color;
      const group = data.groups[state.group].of;
      const shades = colours();
      const chosen = marked[state.selection];
      const faded = (index) => state.only >= 0 && group[index] !== state.only;
      const size = group.length > 1500 ? 2.4 : group.length > 400 ? 3.2 : 4.2;
      for (let index = 0; index < group.length; index++) {
        if (chosen.has(index)) continue;
        pen.globalAlpha = faded(index) ? 0.07 : chosen.size ? 0.5 : 0.85;
        pen.fillStyle = shades[group[index]];
        dot(pen, index, size);
      }
      pen.lineWidth = 1.5;
      for (const index of chosen) {
        pen.globalAlpha = faded(index) ? 0.1 : 1;
        pen.fillStyle = shades[group[index]];
        diamond(pen, index, size + 3.2);
      }
      if (state.at >= 0) {
        pen.globalAlpha = 1;
        pen.lineWidth = 2.5;
        pen.beginPath();
        pen.arc(...place(state.at), size + 6, 0, 2 * Math.PI);
        pen.stroke();
      }
    }

    let waiting = false;
    function redraw() {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        draw();
      });
    }

    function words(index) {
      const lines = [data.tooltips[index]];
      for (const name in data.groups) {
        const group = data.groups[name];
        lines.push(name + ": " + group.labels[group.of[index]]);
      }
      const by = Object.keys(data.selections).filter((name) => marked[name].has(index));
      if (by.length) lines.push("chosen by: " + by.join("; "));
      return lines.filter(Boolean).join("\n");
    }

    function picture(index) {
      const { side, columns } = data.sheet;
      const [left, top] = [side * (index % columns), side * Math.floor(index / columns)];
      thumbnail.getContext("2d").drawImage(sheet, left, top, side, side, 0, 0, side, side);
    }

    function show(index) {
      if (index === state.at) return;
      state.at = index;
      text.textContent = words(index);
      picture(index);
      redraw();
    }

    function point(event) {
      const box = canvas.getBoundingClientRect();
      // A mouse must come near; a finger takes what is nearest.
      let reach = event.pointerType === "mouse" ? 16 : Infinity;
      let best = -1;
      for (let index = 0; index < data.tooltips.length; index++) {
        const [x, y] = place(index);
        const distance = Math.hypot(x + box.left - event.clientX, y + box.top - event.clientY);
        if (distance < reach) [reach, best] = [distance, index];
      }
      if (best >= 0) show(best);
    }

    /* The next point in a direction: near, and not far off the line. */
    function step(event) {
      const turn = TURN[event.key];
      if (!turn) return;
      event.preventDefault();
      if (state.at < 0) return show(0);
      const [x0, y0] = place(state.at);
      let least = Infinity;
      let best = state.at;
      for (let index = 0; index < data.tooltips.length; index++) {
        const [x, y] = place(index);
        const ahead = (x - x0) * turn[0] + (y - y0) * turn[1];
        const aside = Math.abs((x - x0) * turn[1]) + Math.abs((y - y0) * turn[0]);
        if (ahead > 0.5 && aside <= 2 * ahead && ahead + 2 * aside < least) {
          [least, best] = [ahead + 2 * aside, index];
        }
      }
      show(best);
    }

    function list() {
      const { labels, ordered } = data.groups[state.group];
      const shades = colours();
      legend.replaceChildren();
      labels.forEach((label, number) => {
        const entry = element("button", "", legend);
        entry.type = "button";
        entry.setAttribute("aria-pressed", String(state.only === number));
        element("i", "", entry).style.background = shades[number];
        entry.append((ordered ? state.group + " " : "") + label);
        entry.addEventListener("click", () => {
          state.only = state.only === number ? -1 : number;
          for (const other of legend.children) {
            other.setAttribute("aria-pressed", String(other === entry && state.only >= 0));
          }
          redraw();
        });
      });
    }

    choice(bar, "Map", Object.keys(data.points), (name) => {
      state.points = name;
      redraw();
    });
    choice(bar, "Colour", Object.keys(data.groups), (name) => {
      state.group = name;
      state.only = -1;
      list();
      redraw();
    });
    const selections = Object.keys(data.selections);
    choice(bar, "Mark", selections.length ? [...selections, NOTHING] : [], (name) => {
      state.selection = name;
      redraw();
    });
    for (const kind of ["pointermove", "pointerdown"]) canvas.addEventListener(kind, point);
    canvas.addEventListener("keydown", step);
    sheet.addEventListener("load", () => state.at >= 0 && picture(state.at));
    sheet.src = data.sheet.image;

    root.querySelector(".book-hover-still").hidden = true;
    live.hidden = false;
    list();
    draw();
    new ResizeObserver(redraw).observe(canvas);
    // The theme is switched by an attribute, in the book and in JupyterLab.
    const theme = new MutationObserver(() => {
      list();
      redraw();
    });
    const watched = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light"] };
    theme.observe(document.documentElement, watched);
    theme.observe(document.body, watched);
  }

  for (const root of document.querySelectorAll('[data-hover-map="' + key + '"]')) {
    if (root.dataset.started) continue;
    root.dataset.started = "yes";
    start(root);
  }
})
