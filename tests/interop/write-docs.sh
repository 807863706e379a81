#!/usr/bin/env bash
# The results of run.sh as docs/programs.md. stdin: lines of title, version, role, result, configuration, algorithm (tabs
# between); one line for each algorithm.
set -euo pipefail
. /etc/os-release
cat <<TEXT
# Programs

Unmodified programs of the distribution, each with a private key that stays in a PKCS#11 token (SoftHSM2). Every program
is a TLS server or client with mutual authentication, or signs; the file that it takes for a private key is an alias. Every
test is made a second time with an alias of a key that is not in the token, and must then fail.

This table is made by \`tests/interop/run.sh --write-docs\`; \`./check --full\` runs the same tests.
This one: $PRETTY_NAME, $(openssl version | cut -d' ' -f1,2).

\`device.pem\` is the certificate chain, leaf first, and \`device.alias.pem\` the alias (\`keynym alias create\`). The program needs a
configuration of OpenSSL that loads the provider ([configuration](configuration.md)): the system's \`openssl.cnf\`, or one that
the environment variable \`OPENSSL_CONF\` names. The user that the program runs as must be able to read the alias, the PIN file
and the token; a PIN file of root with mode 0640 and the program's group will do.

The columns of results are the algorithms of the key; "cannot" is where the program takes no such key from a file either.

TEXT
awk -F'\t' '
  function word(result) { return result == "ok" ? "works" : result == "SKIPPED" ? "not tested" : result == "UNABLE" ? "cannot" : "fails" }
  !($6 in seen) { seen[$6] = 1; algorithms[++algorithm_count] = $6 }
  { row = $1 "\t" $2 "\t" $3 }
  !(row in configuration) { rows[++row_count] = row; configuration[row] = $5 }
  { result[row, $6] = word($4) }
  END {
    line = "| program | version | role |"; rule = "|---|---|---|"
    for (a = 1; a <= algorithm_count; a++) { line = line " " algorithms[a] " |"; rule = rule "---|" }
    print line " what to put in its configuration |"; print rule "---|"
    for (r = 1; r <= row_count; r++) {
      split(rows[r], field, "\t")
      line = "| " field[1] " | " field[2] " | " field[3] " |"
      for (a = 1; a <= algorithm_count; a++) {
        got = result[rows[r], algorithms[a]]
        line = line " " (got == "" ? "not tested" : got) " |"
      }
      print line " " configuration[rows[r]] " |"
    }
  }'
cat <<'TEXT'

Worth knowing:

* GnuTLS programs (wget, git over https) take no alias, since they do not use OpenSSL. They take the plain `pkcs11:` URI of the same
  key, and find the token through p11-kit.
* Programs that load engines, such as older ones, use the same URI with libp11's `pkcs11` engine. libp11 0.4.12 cannot use a token
  that holds an Ed25519 key.
* HAProxy that is not started as root forbids itself new threads (RLIMIT_NPROC). A PKCS#11 module that starts one then ends the
  process: OpenSC's does (GLib). Name the module of the token with `module_path` ([configuration](configuration.md)), so that the
  other registered ones are not loaded.
* HAProxy, apache2 and Python as a server do not show OpenSSL's error queue, which says why a key cannot be used: `log_level = info`
  (or `KEYNYM_LOG=info`) makes it a line on stderr.
* wget goes on without a certificate when its key cannot be loaded, and the server then refuses it.
* nginx clears its environment: a variable that the module of the token needs (SoftHSM2: `SOFTHSM2_CONF`) is named with `env`.
* apache2 kills its process group when it stops: start it with `setsid` from a script.
TEXT
