// The glue: gives the charts to Vega-Embed and the rows to DataTables, and follows light and dark.
const facts = JSON.parse(document.getElementById("facts").textContent);

const dark = window.matchMedia("screen and (prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", follow);
follow();

// Every text is escaped where it is shown, and exported as it is.
const escaped = (text) => {
  const made = document.createElement("span");
  made.textContent = text;
  return made.innerHTML.replaceAll('"', "&quot;");
};
const text = (value, type) => (value === null ? "" : type === "display" ? escaped(String(value)) : value);

const charts = Object.entries(facts.charts).map(([id, spec]) =>
  vegaEmbed(document.getElementById(id), spec, { actions: false, renderer: "svg", ast: true }),
);

const library = document.getElementById("table-library").textContent;
const address = URL.createObjectURL(new Blob([library], { type: "text/javascript" }));
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);
for (const [id, { columns, data, file }] of Object.entries(facts.tables)) {
  // Without a format of ours, the export takes text for markup and removes parts of it. A spreadsheet would
  // compute a text that begins as a formula.
  const plain = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
  const format = { header: (shown, column) => plain(columns[column].head), body: plain };
  new DataTable(document.getElementById(id), {
    data,
    columns: columns.map(({ numeric }) => ({ render: text, type: numeric ? "num" : "string" })),
    deferRender: true,
    order: [],
    pageLength: 10,
    language: { searchBuilder: { button: { 0: "Filter", _: "Filter (%d)" } } },
    layout: { topStart: "buttons", topEnd: "search", bottomStart: "info", bottomEnd: "paging" },
    buttons: [
      {
        extend: "csvHtml5",
        text: "Export CSV",
        filename: file,
        footer: false,
        exportOptions: { orthogonal: "export", format },
      },
      "searchBuilder",
      "pageLength",
    ],
  });
}
await Promise.all(charts);
document.documentElement.dataset.ready = "yes";
