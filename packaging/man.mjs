// Manual pages out of docs/man: `# name(section)` begins a page; of Markdown they use headings, paragraphs, lists, tables, `code`, **bold** and links, and no more is understood here.

/** The pages that a file holds, as roff. */
export function manPages(markdown, date) {
  return markdown
    .split(/^# (?=[\w.-]+\(\d\)$)/m)
    .slice(1)
    .map((text) => {
      const [, name, section] = /^([\w.-]+)\((\d)\)/.exec(text);
      const lines = text.split('\n').slice(1);
      const title = `.TH ${name.toUpperCase()} ${section} "${date}" Caddis`;
      const [about] = lines.find((line) => line !== '').split('. ');
      const head = [title, '.SH NAME', `${name} \\- ${inline(about.replace(/\.$/, ''))}`, '.SH DESCRIPTION'];
      return { name, section, roff: `${[...head, ...blocks(lines)].join('\n')}\n` };
    });
}

function blocks(lines) {
  const out = [];
  let columns;
  for (const line of lines) {
    if (!line.startsWith('|')) columns = undefined;
    if (line.startsWith('## ')) out.push(`.SH ${inline(line.slice(3))}`);
    else if (line.startsWith('- ')) out.push('.IP \\(bu 2', inline(line.slice(2)));
    else if (line.startsWith('|')) {
      const cells = cellsOf(line);
      if (!columns) columns = cells;
      else if (!cells.every((cell) => /^-+$/.test(cell))) out.push(...row(columns, cells));
    } else out.push(line === '' ? '.PP' : inline(line));
  }
  return out;
}

/** What a row is about, then the rest: the default of a field, what it means. */
function row(columns, [subject, ...rest]) {
  const text = rest.map((cell, i) => (columns[i + 1] === 'default' && cell ? `(default ${cell})` : cell));
  return ['.TP', inline(subject), inline(text.filter((cell) => cell !== '').join(' '))];
}

/** Bars that are escaped are text. */
function cellsOf(line) {
  return line
    .slice(1)
    .replace(/\|\s*$/, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function inline(text) {
  const plain = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/\[([^\]]+)\]\(([^)]+)\)/g, '$1 ($2)')
    .replace(/`([^`]+)`/g, '\\fB$1\\fR')
    .replace(/\*\*([^*]+)\*\*/g, '\\fB$1\\fR')
    .replace(/(?<![\w*])\*([^*]+)\*(?![\w*])/g, '\\fI$1\\fR');
  // A line that begins so would be a request.
  return plain.replace(/^([.'])/, '\\&$1');
}
