package judge_test

import (
	"os"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m, nil)) }
