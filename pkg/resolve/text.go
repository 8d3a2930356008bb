package resolve

import "strings"

// Lines are the tree as text: one line for each question and each record, indented. What
// several records lead to stands there once.
func (r Report) Lines() []string {
	t := treeText{seen: map[string]bool{}, named: len(r.Servers()) > 1}
	t.add(r.Tree, "")
	return t.lines
}

// treeText gathers the lines of a tree.
type treeText struct {
	lines []string
	seen  map[string]bool
	named bool // name the server that has answered
}

func (t *treeText) add(tree []TreeNode, indent string) {
	for _, n := range tree {
		line := n.Question + " " + string(n.Type)
		again := t.seen[line] && len(n.Records) > 0
		t.seen[line] = true
		if len(n.Aliases) > 0 {
			line += " (alias " + strings.Join(n.Aliases, ", ") + ")"
		}
		if t.named && n.Server != "" {
			line += " (by " + n.Server + ")"
		}
		switch {
		case n.Error != "":
			line += ": " + n.Error
		case n.NoName:
			line += ": no such name"
		case len(n.Records) == 0:
			line += ": none"
		case again:
			line += ": as above"
		}
		t.lines = append(t.lines, indent+line)
		if again {
			continue
		}
		for _, r := range n.Records {
			text := r.Text
			if r.Rejected != "" {
				text += ", left out: " + r.Rejected
			}
			t.lines = append(t.lines, indent+"  "+text)
		}
		t.add(n.Children, indent+"    ")
	}
}
