// Package source says how reliable a datum about the world is, such as an address of a
// provider or a setting of a phone. Where it comes from is stated beside it, in its file.
package source

// Confidence is how reliable a datum is.
type Confidence string

// The degrees of confidence.
const (
	High   Confidence = "high"   // read where the maker or provider itself publishes it, or the same in many places
	Medium Confidence = "medium" // a good source at second hand
	Low    Confidence = "low"    // one weak or old source
)

// Valid reports whether c is one of the degrees.
func (c Confidence) Valid() bool { return c == High || c == Medium || c == Low }
