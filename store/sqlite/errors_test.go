package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
)

// coded is an error with a result code of SQLite.
type coded int

func (c coded) Error() string { return fmt.Sprintf("code %d", int(c)) }
func (c coded) Code() int     { return int(c) }

func TestInDoubt(t *testing.T) {
	for err, want := range map[error]bool{
		coded(codeFull): false, coded(codeBusy): false, coded(codeIOErrWrite): false, coded(codeConstraint | 3<<8): false,
		coded(codeCommitHook): false, coded(codeReadonly): false, coded(codeError): false,
		coded(codeIOErr | 4<<8): true, coded(codeIOErr | 19<<8): true, coded(codeIOErr): true, coded(codeNoMem): true, coded(codeCorrupt): true,
		errors.New("something else"): true, errUserEnded: false, sql.ErrTxDone: false, &lostError{coded(codeIOErr)}: false,
	} {
		if got := inDoubt(err); got != want {
			t.Errorf("%v: in doubt %v", err, got)
		}
		told := (&Store{path: "s.db"}).committed(err)
		if told == nil || errors.Is(told, rollcall.ErrInDoubt) != want {
			t.Errorf("a COMMIT that ended with %v is told as %v", err, told)
		}
	}
	if err := (&Store{}).committed(nil); err != nil {
		t.Error(err)
	}
}

func TestClassesOfCodes(t *testing.T) {
	s := &Store{}
	environment := map[int]bool{codeBusy: true, codeLocked: true, codeFull: true, codeIOErr: true, codeCantOpen: true, codeReadonly: true,
		codeCorrupt: true, codeNotADB: true, codeProtocol: true, codeNoMem: true, codePerm: true, codeInterrupt: true, codeSchema: true,
		codeNoLFS: true, codeAuth: true, codeInternal: true, codeAbort: true}
	for c := 1; c < 29; c++ {
		for _, err := range []error{coded(c), coded(c | 7<<8), &lostError{coded(c)}} {
			if got := s.Classify(err) == rollcall.ClassEnvironment; got != environment[c] {
				t.Errorf("%v: environment %v", err, got)
			}
		}
	}
}
