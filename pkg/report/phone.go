package report

import "github.com/ringfence/ringfence/pkg/phone"

// Phone is the object that phone prints.
type Phone struct {
	phone.Snippet
	Steps    []string `json:"steps"`
	Text     string   `json:"text"`
	Warnings []string `json:"warnings"`
}

// Maker is the object that phone list prints for one maker.
type Maker struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Also     []string `json:"also"`
	Families []Family `json:"families"`
}

// Family is a family of models with the same settings.
type Family struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Models   []string `json:"models"`
	Accounts int      `json:"accounts"`
}

// MakersOf makes the objects of makers.
func MakersOf(known []phone.Maker) []Maker {
	reports := []Maker{}
	for _, m := range known {
		r := Maker{m.Name, m.Title, append([]string{}, m.Also...), nil}
		for _, f := range m.Families {
			r.Families = append(r.Families, Family{f.Name, f.Title, f.Models, f.Accounts})
		}
		reports = append(reports, r)
	}
	return reports
}
