package rocketmq_test

// configs are the files of a test's server; what each is for is in the notes of
// scripts/servers.
var configs = map[string]string{
	"conf/namesrv.conf": `listenPort=@NSPORT@
bindAddress=127.0.0.1
rocketmqHome=@HOME@
kvConfigPath=@HOME@/namesrv/kvConfig.json
configStorePath=@HOME@/namesrv/namesrv.properties
scanNotActiveBrokerInterval=5000
serverWorkerThreads=2
serverCallbackExecutorThreads=2
serverSelectorThreads=1
`,
	"conf/broker.conf": `brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=0
brokerIP1=127.0.0.1
bindAddress=127.0.0.1
namesrvAddr=@NS@
listenPort=@BROKER@
haListenPort=@HA@
storePathRootDir=@HOME@/store
storePathCommitLog=@HOME@/store/commitlog
mappedFileSizeCommitLog=33554432
mappedFileSizeConsumeQueue=200000
mappedFileSizeTimerLog=4194304
timerRollWindowSlot=3600
messageIndexEnable=false
diskMaxUsedSpaceRatio=99
diskSpaceWarningLevelRatio=99
diskSpaceCleanForciblyRatio=98
flushConsumerOffsetInterval=200
autoCreateTopicEnable=false
autoCreateSubscriptionGroup=false
transactionTimeOut=3000
transactionCheckInterval=3000
transactionOpBatchInterval=100
registerNameServerPeriod=10000
traceTopicEnable=false
enableCalcFilterBitMap=false
`,
	"conf/logback.xml": `<?xml version="1.0" encoding="UTF-8"?>
<configuration>
  <appender name="F" class="ch.qos.logback.core.FileAppender"><file>${rmq.log.file}</file><append>true</append>
    <encoder><pattern>%d{HH:mm:ss.SSS} %p %c{0} %t - %m%n</pattern></encoder></appender>
  <root level="ERROR"><appender-ref ref="F"/></root>
</configuration>
`,
	"conf/rmq-proxy.json": `{
  "rocketMQClusterName": "DefaultCluster",
  "proxyMode": "@MODE@",
  "namesrvAddr": "@NS@",
  "localServeAddr": "127.0.0.1",
  "proxyName": "proxy-1",
  "grpcServerPort": @GRPC@,
  "remotingListenPort": @REMOTING@,
  "useEndpointPortFromRequest": false,
  "minInvisibleTimeMillsForRecv": 1000,
  "grpcClientConsumerMinLongPollingTimeoutMillis": 500,
  "topicRouteServiceCacheRefreshSeconds": 1,
  "topicConfigCacheRefreshSeconds": 1,
  "subscriptionGroupConfigCacheRefreshSeconds": 1,
  "enablePrintJstack": false,
  "tlsTestModeEnable": false,
  @MORE@
  "tlsKeyPath": "@HOME@/conf/tls.key",
  "tlsCertPath": "@HOME@/conf/tls.crt"
}
`,
}
