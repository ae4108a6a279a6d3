// Draws the charts of a run's page and makes its tables sortable. Needs uPlot and nothing else.
"use strict";
(() => {
  const root = document.documentElement;
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const source = document.getElementById("chart-data");
  const report = source ? JSON.parse(source.textContent) : { charts: [], best: null };
  const charts = [];

  const show = (value) => {
    if (value == null) return "–";
    if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(2);
    return value.toFixed(4);
  };

  // A range that is never empty: one epoch, or one value, still gets room around its point.
  const room = (low, high, pad) => {
    if (low == null || high == null) return [0, 1];
    const space = high > low ? (high - low) * pad : Math.abs(high) * 0.1 || 0.5;
    return [low - space, high + space];
  };

  const yRange = (_, low, high) => {
    const [from, to] = room(low, high, 0.06);
    return [low >= 0 ? Math.max(0, from) : from, to];
  };

  const xRange = (_, low, high) => (high > low ? [low, high] : [low - 0.5, high + 0.5]);

  const markBest = (plot) => {
    const { min, max } = plot.scales.x;
    if (report.best == null || report.best < min || report.best > max) return;
    const x = plot.valToPos(report.best, "x", true);
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = color("--quiet");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  };

  // Away from the pointer the legend shows the last epoch instead of dashes.
  const restLegend = (plot) => {
    if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 }, false);
  };

  const axis = (more) => ({
    stroke: color("--quiet"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: color("--line"), width: 1 },
    ticks: { show: false },
    ...more,
  });

  const draw = (place, width) => {
    const chart = report.charts[Number(place.dataset.chart)];
    const few = chart.data[0].length <= 60;
    const series = chart.names.map((label, i) => ({
      label,
      // The mean of folds is bold; after eight lines the colours start again, dashed.
      stroke: i === chart.bold ? color("--ink") : color(`--c${(i % 8) + 1}`),
      width: i === chart.bold ? 3.5 : chart.bold == null ? 2 : 1.5,
      dash: i >= 8 && i !== chart.bold ? [6, 4] : undefined,
      spanGaps: true,
      points: { show: few, size: 5 },
      value: (_, value) => show(value),
    }));
    const options = {
      width,
      height: 240,
      padding: [8, 12, 0, 0],
      scales: { x: { time: false, range: xRange }, y: { range: yRange } },
      series: [{ label: "Epoch", value: (_, value) => (value == null ? "–" : String(value)) }, ...series],
      axes: [
        axis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000], size: 34 }),
        axis({ size: 62, values: (_, ticks) => ticks.map((v) => (v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential() : String(Number(v.toPrecision(6))))) }),
      ],
      cursor: { sync: { key: "epochs" }, drag: { x: true, y: false } },
      hooks: { draw: [markBest], setCursor: [restLegend] },
    };
    place.replaceChildren();
    const plot = new uPlot(options, chart.data, place);
    restLegend(plot);
    return plot;
  };

  const widthOf = (place) => Math.max(220, Math.floor(place.clientWidth));

  const drawAll = () => {
    charts.splice(0).forEach((plot) => plot.destroy());
    document.querySelectorAll(".plot").forEach((place) => charts.push(draw(place, widthOf(place))));
  };

  const fit = () => charts.forEach((plot) => {
    const width = widthOf(plot.root.parentElement);
    if (width !== plot.width) plot.setSize({ width, height: plot.height });
  });

  const printing = (on) => {
    root.classList.toggle("printing", on);
    drawAll();
  };

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };

  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));

  const sort = (table, head) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const numeric = rows.length > 0 && typeof key(rows[0], head.cellIndex) === "number";
    const before = head.getAttribute("aria-sort");
    const up = before ? before === "descending" : !numeric;
    rows.sort((a, b) => compare(key(a, head.cellIndex), key(b, head.cellIndex)) * (up ? 1 : -1));
    table.querySelectorAll("thead th").forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  };

  document.querySelectorAll("table.sortable").forEach((table) => {
    table.querySelectorAll("thead th").forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(table, head));
      head.replaceChildren(button);
    });
  });

  drawAll();
  addEventListener("resize", fit);
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
