/* Microsoft's own service client, as it is published, against the service API: every call that it has.
 *
 * service.js CONNECTION-STRING-FILE CA-CERTIFICATE LEAF-CERTIFICATE
 * Prints "ok CALL" for each, and ends with exit code 0 after the last one. */
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');

const [, , connectionFile, caFile, leafFile] = process.argv;
const read = (file) => fs.readFileSync(file, 'utf8').trim();
const client = ProvisioningServiceClient.fromConnectionString(read(connectionFile));
const pem64 = (file) => Buffer.from(read(file) + '\n').toString('base64');
setTimeout(() => { console.log('FAILED: 60 s are over'); process.exit(1); }, 60000);

/* The client's calls with a callback, as promises; they call back with (error, result, response). */
const call = (name, ...args) => new Promise((resolve, reject) =>
  client[name](...args, (error, result) => (error ? reject(error) : resolve(result))));
const next = (query) => new Promise((resolve, reject) =>
  query.next((error, result) => (error ? reject(error) : resolve(result))));
const refused = async (name, status, code, ...args) => {
  try {
    await call(name, ...args);
  } catch (error) {
    assert.strictEqual(error.response.statusCode, status, `${name}: ${error}`);
    assert.strictEqual(JSON.parse(error.responseBody).errorCode, code);
    return;
  }
  assert.fail(`${name} was not refused`);
};
const ok = (what) => console.log(`ok   ${what}`);

/* A TPM2B_PUBLIC as an endorsement key has it: RSA 2048, AES-128-CFB, SHA-256. */
function endorsementKey() {
  const modulus = Buffer.from(crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' }).n, 'base64url');
  const area = Buffer.concat([
    Buffer.from('0001000b000300b20020', 'hex'), Buffer.alloc(32), Buffer.from('00060080004300100800000000000100', 'hex'), modulus]);
  return Buffer.concat([Buffer.from([area.length >> 8, area.length & 255]), area]).toString('base64');
}

async function individuals() {
  const enrollment = {
    registrationId: 'npm-key',
    deviceId: 'npm-device',
    attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: '', secondaryKey: '' } },
    initialTwin: { tags: { a: 1 }, properties: { desired: { b: 2 } } },
    capabilities: { iotEdge: true },
    provisioningStatus: 'enabled',
    reprovisionPolicy: { migrateDeviceData: true, updateHubAssignment: true },
  };
  const created = await call('createOrUpdateIndividualEnrollment', enrollment);
  assert.strictEqual(created.deviceId, 'npm-device');
  ok('createOrUpdateIndividualEnrollment');
  const got = await call('getIndividualEnrollment', 'npm-key');
  assert.deepStrictEqual(got.initialTwin, enrollment.initialTwin);
  assert.strictEqual(got.etag, created.etag);
  assert.ok(!JSON.stringify(got).includes('primaryKey'));
  ok('getIndividualEnrollment');
  const mechanism = await call('getIndividualEnrollmentAttestationMechanism', 'npm-key');
  assert.strictEqual(Buffer.from(mechanism.symmetricKey.primaryKey, 'base64').length, 32);
  ok('getIndividualEnrollmentAttestationMechanism');
  got.provisioningStatus = 'disabled'; /* what was got goes back, with its ETag */
  const updated = await call('createOrUpdateIndividualEnrollment', got);
  assert.strictEqual(updated.provisioningStatus, 'disabled');
  assert.deepStrictEqual(await call('getIndividualEnrollmentAttestationMechanism', 'npm-key'), mechanism);
  await refused('createOrUpdateIndividualEnrollment', 412, 412201, got);
  ok('update with an ETag, and with one that is gone');
  await refused('deleteIndividualEnrollment', 412, 412201, 'npm-key', created.etag);
  await call('deleteIndividualEnrollment', updated);
  await refused('getIndividualEnrollment', 404, 404201, 'npm-key');
  ok('deleteIndividualEnrollment');

  await call('createOrUpdateIndividualEnrollment', {
    registrationId: 'npm-x509',
    attestation: { type: 'x509', x509: { clientCertificates: { primary: { certificate: pem64(leafFile) } } } },
  });
  const x509 = await call('getIndividualEnrollment', 'npm-x509');
  assert.strictEqual(x509.attestation.x509.clientCertificates.primary.info.subjectName, 'CN=npm-x509');
  ok('an enrollment with a certificate');
  const ek = endorsementKey();
  await call('createOrUpdateIndividualEnrollment', {
    registrationId: 'npm-tpm',
    attestation: { type: 'tpm', tpm: { endorsementKey: ek } },
  });
  const tpm = await call('getIndividualEnrollment', 'npm-tpm');
  assert.strictEqual(tpm.attestation.tpm.endorsementKey, ek);
  ok('an enrollment with a TPM');
}

async function groups() {
  const group = {
    enrollmentGroupId: 'npm-group',
    attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: pem64(caFile) } } } },
    provisioningStatus: 'enabled',
  };
  await call('createOrUpdateEnrollmentGroup', group);
  const got = await call('getEnrollmentGroup', 'npm-group');
  assert.strictEqual(got.attestation.x509.signingCertificates.primary.info.subjectName, 'CN=Fleet root');
  await refused('createOrUpdateEnrollmentGroup', 409, 409201, group);
  assert.strictEqual((await call('getEnrollmentGroupAttestationMechanism', 'npm-group')).type, 'x509');
  ok('createOrUpdateEnrollmentGroup, getEnrollmentGroup, getEnrollmentGroupAttestationMechanism');
  const pages = await next(client.createEnrollmentGroupQuery({ query: 'SELECT * FROM enrollmentGroups' }, 10));
  assert.deepStrictEqual(pages.map((g) => g.enrollmentGroupId), ['npm-group']);
  ok('createEnrollmentGroupQuery');
  const states = await next(client.createEnrollmentGroupDeviceRegistrationStateQuery({ query: 'SELECT * FROM registrations' }, 'npm-group', 10));
  assert.deepStrictEqual(states, []);
  ok('createEnrollmentGroupDeviceRegistrationStateQuery');
  await refused('getDeviceRegistrationState', 404, 404201, 'nobody');
  await refused('deleteDeviceRegistrationState', 404, 404201, 'nobody');
  ok('getDeviceRegistrationState, deleteDeviceRegistrationState');
  await call('deleteEnrollmentGroup', 'npm-group');
  await refused('getEnrollmentGroup', 404, 404201, 'npm-group');
  ok('deleteEnrollmentGroup');
}

async function bulkAndQuery() {
  const one = (id) => ({ registrationId: id, attestation: { type: 'symmetricKey' } });
  const ids = ['bulk-1', 'bulk-2', 'bulk-3', 'bulk-4', 'bulk-5'];
  const result = await call('runBulkEnrollmentOperation', { mode: 'create', enrollments: ids.map(one) });
  assert.strictEqual(result.isSuccessful, true);
  const again = await call('runBulkEnrollmentOperation', { mode: 'create', enrollments: [one('bulk-5'), one('bulk-6')] });
  assert.strictEqual(again.isSuccessful, false);
  assert.deepStrictEqual(again.errors.map((e) => e.registrationId), ['bulk-5']);
  ok('runBulkEnrollmentOperation');
  const query = client.createIndividualEnrollmentQuery({ query: "SELECT * FROM enrollments WHERE registrationId < 'c'" }, 4);
  const seen = [];
  let count = 0;
  do {
    const page = await next(query);
    assert.ok(page.length <= 4);
    seen.push(...page.map((e) => e.registrationId));
    count += 1;
  } while (query.hasMoreResults);
  assert.strictEqual(count, 2);
  assert.deepStrictEqual(seen, [...ids, 'bulk-6']);
  ok('createIndividualEnrollmentQuery with pages');
}

(async () => {
  await individuals();
  await groups();
  await bulkAndQuery();
  process.exit(0);
})().catch((error) => {
  console.log(`FAILED: ${error.stack} ${error.responseBody || ''}`);
  process.exit(1);
});
