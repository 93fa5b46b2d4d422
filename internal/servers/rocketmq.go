//go:build linux

package servers

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var rocketHome = filepath.Join(cache(), "rocketmq-5.5.0")

// The programs of RocketMQ 5.5. Settings of the broker are those of broker.conf; a name
// that begins with "proxy." is one of rmq-proxy.json, its value in JSON; "admin.user" and
// "admin.key" sign what [RocketMQ.Ask] asks, and "-D…" is a property of Java. In local mode one process is broker and proxy; the two
// modes answer differently.
var (
	rocketNames        = rocketmq("rocketmq-5.5-namesrv", "64m", "32m", "org.apache.rocketmq.namesrv.NamesrvStartup", prepareRocketNames, "-c", "DIR/namesrv.conf")
	rocketClusterNames = rocketmq("rocketmq-5.5-cluster-namesrv", "64m", "32m", "org.apache.rocketmq.namesrv.NamesrvStartup", prepareRocketNames, "-c", "DIR/namesrv.conf")
	rocketLocal        = rocketmq("rocketmq-5.5-local", "256m", "512m", "org.apache.rocketmq.proxy.ProxyStartup", prepareRocket, "-pm", "local", "-pc", "DIR/rmq-proxy.json", "-bc", "DIR/broker.conf")
	rocketBroker       = rocketmq("rocketmq-5.5-broker", "256m", "512m", "org.apache.rocketmq.broker.BrokerStartup", prepareRocket, "-c", "DIR/broker.conf")
	rocketProxy        = rocketmq("rocketmq-5.5-proxy", "128m", "256m", "org.apache.rocketmq.proxy.ProxyStartup", prepareRocket, "-pm", "cluster", "-pc", "DIR/rmq-proxy.json")
)

func rocketmq(name, heap, direct, class string, prepare func(s *Server) error, args ...string) *Spec {
	return &Spec{
		Name: name, Program: filepath.Join(rocketHome, "bin/java"),
		Prepare: prepare,
		Arguments: func(s *Server) []string {
			line := []string{"-Xms" + heap, "-Xmx" + heap, "-XX:MaxDirectMemorySize=" + direct, "-Duser.home=" + s.Dir, "-Djava.io.tmpdir=" + s.Dir, class}
			for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
				if strings.HasPrefix(name, "-D") {
					line = append(line[:len(line)-1], name+"="+s.Settings[name], class)
				}
			}
			for _, a := range args {
				line = append(line, strings.Replace(a, "DIR", s.Dir, 1))
			}
			if names := s.Settings["namesrvAddr"]; names != "" {
				line = append(line, "-n", names)
			}
			return line
		},
		Environment: func(s *Server) []string {
			return []string{"ROCKETMQ_HOME=" + s.Dir, "RMQ_PROXY_HOME=" + s.Dir}
		},
		Ready: func(net.Conn) error { return nil },
		Quit:  syscall.SIGTERM,
	}
}

// RocketMQ is a name server, a broker and a proxy; in local mode the last two are one.
type RocketMQ struct{ Names, Broker, Proxy *Server }

// StartRocketMQ gives the test a RocketMQ of its own, in local mode or in that of a
// cluster, and ends it after the test. The config's settings are those of broker and
// proxy.
func StartRocketMQ(t testing.TB, local bool, config Config) *RocketMQ {
	t.Helper()
	r := &RocketMQ{Names: Start(t, rocketNames, Config{})}
	settings := maps.Clone(config.Settings)
	if settings == nil {
		settings = make(map[string]string)
	}
	settings["namesrvAddr"] = r.Names.Addr
	if local {
		r.Proxy = Start(t, rocketLocal, Config{settings})
		r.Broker = r.Proxy
		r.registered(t)
		return r
	}
	r.Broker = Start(t, rocketBroker, Config{settings})
	r.registered(t) // a proxy that finds no broker ends
	r.Proxy = Start(t, rocketProxy, Config{settings})
	return r
}

// SharedRocketMQ is the test binary's RocketMQ in local mode, for tests that do nothing to it.
func SharedRocketMQ(t testing.TB) *RocketMQ {
	t.Helper()
	r := &RocketMQ{Names: Shared(t, rocketNames)}
	r.Proxy = sharedWith(t, rocketLocal, r.known())
	r.Broker = r.Proxy
	r.registered(t)
	return r
}

// SharedRocketMQCluster is the same with a proxy before a cluster.
func SharedRocketMQCluster(t testing.TB) *RocketMQ {
	t.Helper()
	r := &RocketMQ{Names: Shared(t, rocketClusterNames)}
	r.Broker = sharedWith(t, rocketBroker, r.known())
	r.registered(t)
	r.Proxy = sharedWith(t, rocketProxy, r.known())
	return r
}

// known are the settings by which a process finds the others.
func (r *RocketMQ) known() Config {
	return Config{map[string]string{"namesrvAddr": r.Names.Addr}}
}

// Lent is what the environment of a test binary needs to take this RocketMQ for its own.
func (r *RocketMQ) Lent() []string {
	return []string{Lend(r.Names), Lend(r.Proxy) + " " + r.Broker.Settings["listenPort"]}
}

// all are its processes, in the order of a start.
func (r *RocketMQ) all() []*Server {
	if r.Broker == r.Proxy {
		return []*Server{r.Names, r.Proxy}
	}
	return []*Server{r.Names, r.Broker, r.Proxy}
}

// each does it to all processes, the proxy first.
func (r *RocketMQ) each(do func(s *Server) error) error {
	var errs []error
	for _, s := range slices.Backward(r.all()) {
		errs = append(errs, do(s))
	}
	return errors.Join(errs...)
}

// Kill ends all processes by SIGKILL; r.Proxy.Kill ends one.
func (r *RocketMQ) Kill() error { return r.each((*Server).Kill) }

// Pause stops all processes by SIGSTOP.
func (r *RocketMQ) Pause() error { return r.each((*Server).Pause) }

// Resume lets them go on.
func (r *RocketMQ) Resume() error { return r.each((*Server).Resume) }

// Restart starts what does not run.
func (r *RocketMQ) Restart() error {
	for _, s := range r.all() {
		if s.Pid() != 0 {
			continue
		}
		if err := r.restart(s); err != nil {
			return err
		}
		if s == r.Broker {
			if err := r.register(); err != nil {
				return err
			}
		}
	}
	return nil
}

// restart one process. A proxy that finds no broker ends again: the name server may miss
// one that lives for a while.
func (r *RocketMQ) restart(s *Server) (err error) {
	for deadline := time.Now().Add(patience); ; {
		if s == r.Proxy && s != r.Broker {
			err = r.register()
		}
		if err = errors.Join(err, s.Restart()); err == nil || s != r.Proxy || time.Now().After(deadline) {
			return err
		}
		err = nil
	}
}

// registered waits until the name server knows the broker.
func (r *RocketMQ) registered(t testing.TB) {
	t.Helper()
	if err := r.register(); err != nil {
		t.Fatal(err)
	}
}

// register: a broker's first registration at the name server is often lost, and the next
// one is 10 seconds later; so it is asked for.
func (r *RocketMQ) register() error {
	var last error
	err := wait(patience, "the name server to know the broker", func() bool {
		var known []byte
		if _, known, last = remote(r.Names.Addr, 106, nil, nil); last == nil && strings.Contains(string(known), r.brokerAddr()) {
			return true
		}
		_, _, last = r.Ask(25, nil, []byte("brokerPermission=6"))
		return false
	})
	return errors.Join(err, last)
}

// brokerAddr speaks the broker's own protocol.
func (r *RocketMQ) brokerAddr() string {
	return net.JoinHostPort("127.0.0.1", r.Broker.Settings["listenPort"])
}

func prepareRocketNames(s *Server) error {
	return os.WriteFile(filepath.Join(s.Dir, "namesrv.conf"), []byte(fmt.Sprintf(`listenPort=%s
bindAddress=127.0.0.1
rocketmqHome=%s
kvConfigPath=%[2]s/kvConfig.json
configStorePath=%[2]s/namesrv.properties
scanNotActiveBrokerInterval=5000
serverWorkerThreads=2
serverCallbackExecutorThreads=2
serverSelectorThreads=1
`, s.port(), s.Dir)), 0o600)
}

// prepareRocket writes what a broker and a proxy read; each takes its part.
func prepareRocket(s *Server) error {
	port, err := rocketPorts()
	if err != nil {
		return err
	}
	alone := strings.HasSuffix(s.spec.Name, "broker")
	grpc, listen := s.port(), port[0]
	if alone { // its address is that of its own protocol
		grpc, listen = listen, grpc
	}
	broker := map[string]string{"listenPort": listen, "haListenPort": port[1], "storePathRootDir": s.data(), "storePathCommitLog": filepath.Join(s.data(), "commitlog")}
	maps.Copy(broker, rocketBrokerSettings)
	proxy := map[string]json.RawMessage{
		"proxyMode": quoted("local"), "namesrvAddr": quoted(s.Settings["namesrvAddr"]), "grpcServerPort": json.RawMessage(grpc), "remotingListenPort": json.RawMessage(port[2]),
		"tlsKeyPath": quoted(filepath.Join(s.Dir, "tls.key")), "tlsCertPath": quoted(filepath.Join(s.Dir, "tls.crt")),
	}
	for name, value := range rocketProxySettings {
		proxy[name] = json.RawMessage(value)
	}
	if strings.HasSuffix(s.spec.Name, "proxy") {
		proxy["proxyMode"] = quoted("cluster")
	}
	for name, value := range s.Settings {
		if field, is := strings.CutPrefix(name, "proxy."); is {
			proxy[field] = json.RawMessage(value)
		} else if !strings.HasPrefix(name, "admin.") && !strings.HasPrefix(name, "-D") {
			broker[name] = value
		}
	}
	s.Settings["listenPort"] = broker["listenPort"]
	return errors.Join(writeRocket(s, broker, proxy), rocketKey(s.Dir))
}

// rocketBrokerSettings are of all brokers: small files, since all is mapped and
// preallocated; offsets and open transactions looked at often.
var rocketBrokerSettings = map[string]string{
	"brokerClusterName": "DefaultCluster", "brokerName": "broker-a", "brokerId": "0", "brokerIP1": "127.0.0.1", "bindAddress": "127.0.0.1",
	"brokerRole": "ASYNC_MASTER", "flushDiskType": "ASYNC_FLUSH",
	"mappedFileSizeCommitLog": "33554432", "mappedFileSizeConsumeQueue": "200000", "mappedFileSizeTimerLog": "4194304", "timerRollWindowSlot": "3600",
	"messageIndexEnable": "false", "diskMaxUsedSpaceRatio": "99", "diskSpaceWarningLevelRatio": "99", "diskSpaceCleanForciblyRatio": "98",
	"flushConsumerOffsetInterval": "200", "autoCreateTopicEnable": "false", "autoCreateSubscriptionGroup": "false",
	"transactionTimeOut": "3000", "transactionCheckInterval": "3000", "transactionOpBatchInterval": "100", "traceTopicEnable": "false",
}

// rocketProxySettings are of all proxies, in JSON: short times, since tests wait for them.
var rocketProxySettings = map[string]string{
	"rocketMQClusterName": `"DefaultCluster"`, "localServeAddr": `"127.0.0.1"`, "proxyName": `"proxy-1"`,
	"minInvisibleTimeMillsForRecv": "1000", "grpcClientConsumerMinLongPollingTimeoutMillis": "500",
	"topicRouteServiceCacheRefreshSeconds": "1", "topicConfigCacheRefreshSeconds": "1", "subscriptionGroupConfigCacheRefreshSeconds": "1",
	"enablePrintJstack": "false", "tlsTestModeEnable": "false",
}

// rocketPorts are three free ports. The broker opens one two below the first, too, so
// that one is taken from the rest as well.
func rocketPorts() (ports [3]string, err error) {
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return ports, err
		}
	}
	for {
		n, err := strconv.Atoi(ports[0])
		if err != nil {
			return ports, err
		}
		if reserve(strconv.Itoa(n-2)) == nil {
			return ports, nil
		}
		if ports[0], err = freePort(); err != nil {
			return ports, err
		}
	}
}

func quoted(text string) json.RawMessage {
	b, _ := json.Marshal(text)
	return b
}

func writeRocket(s *Server, broker map[string]string, proxy map[string]json.RawMessage) error {
	var conf strings.Builder
	for _, name := range slices.Sorted(maps.Keys(broker)) {
		fmt.Fprintf(&conf, "%s=%s\n", name, broker[name])
	}
	text, err := json.MarshalIndent(proxy, "", "  ")
	return errors.Join(err, os.WriteFile(filepath.Join(s.Dir, "broker.conf"), []byte(conf.String()), 0o600),
		os.WriteFile(filepath.Join(s.Dir, "rmq-proxy.json"), text, 0o600))
}

// rocketKey makes the key pair that a proxy always loads: its own takes seconds.
func rocketKey(dir string) error {
	key, cert := filepath.Join(dir, "tls.key"), filepath.Join(dir, "tls.crt")
	if _, err := os.Stat(key); err == nil {
		return nil // a test has put its own there
	}
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365",
		"-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert).CombinedOutput()
	if err != nil {
		return fmt.Errorf("openssl: %w: %s", err, out)
	}
	return nil
}
