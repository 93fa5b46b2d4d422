// Package linediff shows how two texts differ, line by line.
package linediff

import (
	"fmt"
	"strings"
)

// around is how many equal lines are shown before and after a difference.
const around = 3

// mostCells bounds the table of the comparison; beyond it everything between the
// first and the last difference is shown as replaced.
const mostCells = 4_000_000

// line is one line of the result: ' ', '-' or '+'.
type line struct {
	sign byte
	text string
}

// Unified is the difference in unified form, without names of files; empty when
// there is none.
func Unified(before, after string) string {
	if before == after {
		return ""
	}
	lines := compare(cut(before), cut(after))
	var b strings.Builder
	oldAt, newAt := 1, 1
	for at := 0; at < len(lines); {
		first := at
		for first < len(lines) && lines[first].sign == ' ' {
			first++
		}
		if first == len(lines) {
			break
		}
		from := max(at, first-around)
		oldAt, newAt = oldAt+from-at, newAt+from-at
		end := hunkEnd(lines, first)
		o, n := count(lines[from:end])
		fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n", oldAt, o, newAt, n)
		for _, l := range lines[from:end] {
			fmt.Fprintf(&b, "%c%s\n", l.sign, l.text)
		}
		oldAt, newAt, at = oldAt+o, newAt+n, end
	}
	return b.String()
}

// cut splits into lines; a missing end of the last one is said in it.
func cut(text string) []string {
	if text == "" {
		return nil
	}
	if !strings.HasSuffix(text, "\n") {
		return strings.Split(text+" (no end of line)", "\n")
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// hunkEnd is behind the last difference that is near the one before, and the
// equal lines that follow it.
func hunkEnd(lines []line, at int) int {
	end, equal := at, 0
	for i := at; i < len(lines) && equal <= 2*around; i++ {
		if equal++; lines[i].sign != ' ' {
			end, equal = i+1, 0
		}
	}
	return min(len(lines), end+around)
}

func count(lines []line) (before, after int) {
	for _, l := range lines {
		if l.sign != '+' {
			before++
		}
		if l.sign != '-' {
			after++
		}
	}
	return before, after
}

// compare finds the longest common lines between the common beginning and the
// common end.
func compare(a, b []string) []line {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var out []line
	add := func(sign byte, lines []string) {
		for _, l := range lines {
			out = append(out, line{sign, l})
		}
	}
	add(' ', a[:head])
	x, y := a[head:len(a)-tail], b[head:len(b)-tail]
	if len(x)*len(y) > mostCells {
		add('-', x)
		add('+', y)
	} else {
		out = append(out, common(x, y)...)
	}
	add(' ', a[len(a)-tail:])
	return out
}

// common is the textbook's longest common subsequence.
func common(a, b []string) (out []line) {
	longest := make([][]int32, len(a)+1)
	for i := range longest {
		longest[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if longest[i][j] = max(longest[i+1][j], longest[i][j+1]); a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, line{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && longest[i+1][j] >= longest[i][j+1]:
			out = append(out, line{'-', a[i]})
			i++
		default:
			out = append(out, line{'+', b[j]})
			j++
		}
	}
	return out
}
