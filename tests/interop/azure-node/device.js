/* One device, with Microsoft's own clients as they are published: registers, then talks to the hub it was assigned to.
 *
 * device.js TRANSPORT ID-SCOPE ID x509 CERT KEY | device.js TRANSPORT ID-SCOPE ID key FILE
 * Prints "registered HUB", "telemetry", "twin", "listening", "message TEXT" and "desired N" as it gets there, and ends with
 * exit code 0 after the last one that its transport has. */
'use strict';

const fs = require('fs');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Client, Message } = require('azure-iot-device');

const transports = {
  'mqtt': { dps: () => require('azure-iot-provisioning-device-mqtt').Mqtt, hub: () => require('azure-iot-device-mqtt').Mqtt },
  'mqtt-ws': { dps: () => require('azure-iot-provisioning-device-mqtt').MqttWs, hub: () => require('azure-iot-device-mqtt').MqttWs },
  'amqp': { dps: () => require('azure-iot-provisioning-device-amqp').Amqp, hub: () => require('azure-iot-device-amqp').Amqp },
  'amqp-ws': { dps: () => require('azure-iot-provisioning-device-amqp').AmqpWs, hub: () => require('azure-iot-device-amqp').AmqpWs },
  'https': { dps: () => require('azure-iot-provisioning-device-http').Http, hub: () => require('azure-iot-device-http').Http, plain: true },
};

const [, , transportName, scope, id, kind, first, second] = process.argv;
const transport = transports[transportName];
const host = 'global.azure-devices-provisioning.net';
const read = (file) => fs.readFileSync(file, 'utf8').trim();

function fail(what, error) {
  /* over AMQP a refusal comes as the bare condition and description of the disposition */
  console.log(`FAILED ${what}: ${error.name || error.condition}: ${error.message || error.description}`);
  process.exit(1);
}
setTimeout(() => fail('in time', new Error('60 s are over')), 60000);

function security() {
  if (kind === 'x509') {
    const { X509Security } = require('azure-iot-security-x509');
    return new X509Security(id, { cert: read(first), key: read(second) });
  }
  const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
  return new SymmetricKeySecurityClient(id, read(first));
}

function hubClient(result) {
  const parts = [`HostName=${result.assignedHub}`, `DeviceId=${result.deviceId}`];
  parts.push(kind === 'x509' ? 'x509=true' : `SharedAccessKey=${read(first)}`);
  const client = Client.fromConnectionString(parts.join(';'), transport.hub());
  if (kind === 'x509')
    client.setOptions({ cert: read(first), key: read(second) });
  return client;
}

async function talk(result) {
  const client = hubClient(result);
  const waiting = new Set(transport.plain ? ['message'] : ['message', 'desired']);
  const done = (what) => {
    waiting.delete(what);
    if (waiting.size === 0)
      client.close(() => process.exit(0));
  };
  await client.open();
  const message = new Message(JSON.stringify({ from: id }));
  message.contentType = 'application/json';
  message.properties.add('transport', transportName);
  await client.sendEvent(message);
  console.log('telemetry');
  client.on('message', (m) => {
    const text = m.getData().toString();
    client.complete(m, (error) => {
      if (error)
        fail('complete', error);
      /* its HTTPS client leaves the prefix of the header field in the name */
      console.log(`message ${text} ${m.properties.getValue('k') || m.properties.getValue('iothub-app-k')}`);
      done('message');
    });
  });
  if (!transport.plain) {
    const twin = await client.getTwin();
    if (twin.properties.desired.$version !== 1)
      fail('twin', new Error(JSON.stringify(twin.properties)));
    await new Promise((resolve, reject) => twin.properties.reported.update({ alive: true }, (e) => (e ? reject(e) : resolve())));
    console.log('twin');
    let initial = true; /* the first call tells what there is */
    twin.on('properties.desired', (delta) => {
      if (initial && delta.$version === 1) {
        initial = false;
        return;
      }
      console.log(`desired ${delta.n}`);
      done('desired');
    });
  } else {
    client.setOptions({ http: { receivePolicy: { interval: 1 } } });
  }
  console.log('listening');
}

const provisioning = ProvisioningDeviceClient.create(host, scope, new (transport.dps())(), security());
provisioning.register((error, result) => {
  if (error)
    fail('register', error);
  if (result.status !== 'assigned' || result.deviceId !== id)
    fail('register', new Error(JSON.stringify(result)));
  console.log(`registered ${result.assignedHub}`);
  talk(result).catch((e) => fail('hub', e));
});
