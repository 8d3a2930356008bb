package signature_test
import ("testing";"time";"fmt";"github.com/ringfence/ringfence/pkg/signature")
func TestTmp(t *testing.T){
 for _,n:=range []int{25,100,300,1000,1200,1500,2000}{
  s:=time.Now(); a,err:=signature.Compile(many(n),nil)
  if err!=nil {fmt.Println(n,time.Since(s),err); continue}
  tb:=a.Table(); fmt.Println(n,time.Since(s),len(tb.Next)/64,tb.Resting,tb.Event,tb.Sink,len(a.Sieve().Groups),a.Sieve().EveryHeader)
 }
 a,err:=signature.Compile(few(),nil)
 tb:=a.Table(); fmt.Println(err,len(tb.Next)/64,tb.Resting,tb.Event,tb.Sink,len(a.Sieve().Groups),a.Sieve().EveryHeader)
}
