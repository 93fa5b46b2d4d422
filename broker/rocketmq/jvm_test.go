package rocketmq_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// server is a RocketMQ of a test: a name server, and a proxy with the broker in it
// (local), or a broker and a proxy before it.
type server struct {
	brokerAdmin
	proxy   string // address
	version string

	dir   string
	mode  string
	tls   bool
	names string
	mu    sync.Mutex
	jvms  map[string]*jvm
}

// lib is where the jars are: those of scripts/servers, or as said.
func lib(t testing.TB) string {
	dir := os.Getenv("ROLLCALL_ROCKETMQ")
	if dir == "" {
		dir = filepath.Join(servers.RocketMQHome(), "libs")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("%v: run scripts/servers", err)
	}
	return dir
}

// start makes a server. broker are lines of broker.conf, proxy entries of rmq-proxy.json.
func start(t testing.TB, mode string, broker, proxy []string) *server {
	t.Helper()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	s := new(server)
	startAs(t, s, mode, broker, proxy)
	return s
}

// startAs starts a server that knows more of itself already.
func startAs(t testing.TB, s *server, mode string, broker, proxy []string) {
	t.Helper()
	s.dir, s.mode, s.jvms = filepath.Join(t.TempDir(), mode), mode, make(map[string]*jvm)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.logs())
		}
		s.kill("namesrv", "broker", "proxy")
	})
	if err := s.boot(t, broker, proxy); err != nil {
		t.Fatal(err)
	}
}

// slots bounds how many servers there are beside the shared ones: each is two or three
// JVMs.
var slots = make(chan struct{}, 2)

func startIn(t testing.TB, dir, mode string, broker, proxy []string) *server {
	t.Helper()
	s := &server{dir: filepath.Join(dir, mode), mode: mode, jvms: make(map[string]*jvm)}
	if err := s.boot(t, broker, proxy); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) boot(t testing.TB, broker, proxy []string) error {
	port := func() string { return servers.FreePort(t) }
	listen, _ := strconv.Atoi(port())
	s.names, s.addr, s.proxy = "127.0.0.1:"+port(), fmt.Sprint("127.0.0.1:", listen), "127.0.0.1:"+port()
	fill := strings.NewReplacer("@HOME@", s.dir, "@NS@", s.names, "@NSPORT@", after(s.names), "@BROKER@", fmt.Sprint(listen), "@HA@", port(),
		"@GRPC@", after(s.proxy), "@REMOTING@", port(), "@MODE@", s.mode, "@MORE@", strings.Join(proxy, "\n"))
	for name, text := range configs {
		if name == "conf/broker.conf" {
			text += strings.Join(broker, "\n") + "\n"
		}
		path := filepath.Join(s.dir, name)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(fill.Replace(text)), 0o600); err != nil {
			return err
		}
	}
	for _, d := range []string{"tmp", "log", "store"} {
		_ = os.MkdirAll(filepath.Join(s.dir, d), 0o755)
	}
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", filepath.Join(s.dir, "conf/tls.key"), "-out", filepath.Join(s.dir, "conf/tls.crt")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	s.version = version(lib(t))
	s.run(t, "namesrv")
	s.restart(t)
	return nil
}

func after(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// version is what the jars are called.
func version(lib string) string {
	found, _ := filepath.Glob(filepath.Join(lib, "rocketmq-broker-*.jar"))
	if len(found) != 1 {
		return "?"
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "rocketmq-broker-"), ".jar")
}

// restart runs what does not run, and waits until the proxy takes clients.
func (s *server) restart(t testing.TB) {
	t.Helper()
	if s.mode == "cluster" && s.pid("broker") == 0 {
		s.run(t, "broker")
		s.registered(t)
	}
	if s.pid("proxy") == 0 {
		s.run(t, "proxy")
	}
	s.registered(t)
	s.serves(t)
}

// serves waits until a client is taken.
func (s *server) serves(t testing.TB) {
	t.Helper()
	var last error
	defer func() {
		if t.Failed() {
			t.Log(last)
		}
	}()
	within(t, startPatience, "the proxy to take clients", func() bool {
		if s.jvms != nil && s.gone("proxy") { // it gives up when the broker is slow to take its topic
			s.run(t, "proxy")
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c, err := rocketmq.Open(ctx, []string{s.proxy}, rocketmq.Config{Plaintext: true, Warn: func(string) {}})
		if last = err; err == nil {
			c.Close()
		}
		return err == nil || errors.Is(err, rocketmq.ErrRefused)
	})
}

// registered asks the broker to tell the name server of itself: its first word is often
// lost, and the next comes 10 s later.
func (s *server) registered(t testing.TB) {
	t.Helper()
	names := brokerAdmin{addr: s.names}
	within(t, startPatience, "the broker to be known", func() bool {
		if body, err := names.ask(106, nil, nil); err == nil && strings.Contains(string(body.body), "broker-a") {
			return true
		}
		_, _ = s.ask(25, nil, []byte("brokerPermission=6"))
		time.Sleep(50 * time.Millisecond)
		return false
	})
}

var launched = sync.OnceValue(func() chan<- func() {
	todo := make(chan func())
	go func() {
		runtime.LockOSThread() // the kernel ends the children with the thread
		for f := range todo {
			f()
		}
	}()
	return todo
})

func (s *server) run(t testing.TB, name string) {
	t.Helper()
	args := []string{"-Xss512k", "-XX:-UsePerfData", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms128m", "-Xmx256m", "-XX:MaxDirectMemorySize=512m",
		"-Dio.netty.tryReflectionSetAccessible=true", "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
		"--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
		"-Dtls.server.mode=" + s.encryption(), "-Dtls.test.mode.enable=false", "-Dtls.server.keyPath=" + s.dir + "/conf/tls.key", "-Dtls.server.certPath=" + s.dir + "/conf/tls.crt",
		"-Duser.home=" + s.dir, "-Djava.io.tmpdir=" + s.dir + "/tmp", "-Djava.net.preferIPv4Stack=true",
		"-Drmq.log.file=" + s.dir + "/log/" + name + ".log", "-Drmq.logback.configurationFile=" + s.dir + "/conf/logback.xml", "-cp", lib(t) + "/*"}
	conf := s.dir + "/conf/"
	switch name {
	case "namesrv":
		args = append(args, "org.apache.rocketmq.namesrv.NamesrvStartup", "-c", conf+"namesrv.conf")
	case "broker":
		args = append(args, "org.apache.rocketmq.broker.BrokerStartup", "-c", conf+"broker.conf", "-n", s.names)
	default:
		args = append(args, "org.apache.rocketmq.proxy.ProxyStartup", "-pm", s.mode, "-pc", conf+"rmq-proxy.json", "-bc", conf+"broker.conf", "-n", s.names)
	}
	cmd := exec.Command("java", args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log", name+".out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.Env = append(os.Environ(), "ROCKETMQ_HOME="+s.dir, "RMQ_PROXY_HOME="+s.dir, "NAMESRV_ADDR="+s.names)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	failed := make(chan error)
	launched() <- func() { failed <- cmd.Start() }
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j := &jvm{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(j.ended)
	}()
	s.jvms[name] = j
}

// jvm is one process.
type jvm struct {
	*exec.Cmd
	ended chan struct{}
}

// gone says whether a process has ended by itself.
func (s *server) gone(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.jvms[name].ended:
		return true
	default:
		return false
	}
}

// encryption of the proxy: both with and without, or none, which starts sooner.
func (s *server) encryption() string {
	if s.tls {
		return "permissive"
	}
	return "disabled"
}

func (s *server) pid(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cmd := s.jvms[name]; cmd != nil {
		return cmd.Process.Pid
	}
	return 0
}

// kill ends processes by SIGKILL and returns when they are gone.
func (s *server) kill(names ...string) (pids []int) {
	for _, name := range names {
		s.mu.Lock()
		cmd := s.jvms[name]
		delete(s.jvms, name)
		s.mu.Unlock()
		if cmd != nil {
			pids = append(pids, cmd.Process.Pid)
			_ = cmd.Process.Kill()
			<-cmd.ended
		}
	}
	return pids
}

// logs are the ends of what the processes wrote.
func (s *server) logs() (out string) {
	files, _ := filepath.Glob(filepath.Join(s.dir, "log", "*"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		out += fmt.Sprintf("%s:\n%s\n", filepath.Base(f), text[max(0, len(text)-1500):])
	}
	return out
}

// startPatience is how long a server may take to come up while others do.
const startPatience = 3 * time.Minute
