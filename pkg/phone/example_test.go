package phone_test

import (
	"fmt"

	"github.com/ringfence/ringfence/pkg/phone"
	"github.com/ringfence/ringfence/rules"
)

func ExampleMaker_Snippet() {
	files, err := rules.Phones()
	if err != nil {
		fmt.Println(err)
		return
	}
	makers, err := phone.Read(files)
	if err != nil {
		fmt.Println(err)
		return
	}
	yealink, _ := phone.Find(makers, "Yealink")
	s, err := yealink.Snippet(phone.Options{Model: "T46S", Firmware: "86"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Maker, s.Model, s.Format())
	fmt.Println(s.Refuses())
	// Output:
	// yealink T46S cfg
	// true
}
