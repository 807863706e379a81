/* KN_ERR_ROW(name, sentence, remedy), one row for each error. New rows go at the end of their group. */

/* the caller's side */
KN_ERR_ROW(NO_MEMORY, "out of memory", "free memory and try again")
KN_ERR_ROW(ARGUMENT, "a call with an argument that is not valid", "report this: it is a bug in the caller")
KN_ERR_ROW(CRYPTO, "libcrypto failed", "see the OpenSSL error queue; check the OpenSSL installation")
KN_ERR_ROW(IO, "a file cannot be read or written", "check the path and its permissions")
KN_ERR_ROW(CONFIG, "the configuration is not valid", "correct the named line; docs/configuration.md lists every setting")

/* aliases */
KN_ERR_ROW(ALIAS_MALFORMED, "the alias private key is malformed",
           "write it again: keynym alias create 'pkcs11:...' --output FILE")
KN_ERR_ROW(ALIAS_SECRET, "the alias would hold a PIN", "remove pin-value; name a file with pin-source")
KN_ERR_ROW(URI_MALFORMED, "the key URI is malformed", "compare it with docs/alias-format.md (RFC 7512)")
KN_ERR_ROW(URI_ATTRIBUTE, "the key URI has an attribute that is not known",
           "correct its spelling; docs/alias-format.md lists the attributes")
KN_ERR_ROW(URI_SCHEME, "no backend serves this kind of URI", "use a pkcs11: or tpm2: URI")

/* modules and tokens */
KN_ERR_ROW(MODULE_LOAD, "the PKCS#11 module cannot be loaded",
           "check the path of the module and that its package is installed")
KN_ERR_ROW(MODULE_INIT, "the PKCS#11 module does not start", "check the module's own configuration")
KN_ERR_ROW(NO_MODULE, "no PKCS#11 module is configured",
           "install one that registers with p11-kit, or name its path (module_path, --module)")
KN_ERR_ROW(NO_TOKEN, "no token matches", "insert the token, or correct the URI; keynym token list shows what is there")
KN_ERR_ROW(AMBIGUOUS_TOKEN, "more than one token matches", "add token= or serial= to the URI")
KN_ERR_ROW(TOKEN_GONE, "the token was removed", "insert the token again")
KN_ERR_ROW(TOKEN_READ_ONLY, "the token is write-protected", "remove the write protection")
KN_ERR_ROW(TOKEN_FULL, "the token has no room", "delete objects that are not needed")
KN_ERR_ROW(TOKEN_FAILED, "the token failed", "see the module's own log; restart the token when it persists")
KN_ERR_ROW(TOKEN_CANNOT, "the token cannot do this", "use what it offers: docs/algorithms.md, for a TPM docs/tpm-keys.md")
KN_ERR_ROW(NO_ATTESTATION, "there is no TPM that attests", "use X.509 or a symmetric key")
KN_ERR_ROW(MODULE_BROKEN, "the PKCS#11 module broke the standard's rules", "report this to the module's maker")
KN_ERR_ROW(SESSION_LIMIT, "no session became free in time",
           "close other programs that use the token, or raise its session limit")
KN_ERR_ROW(SESSION_LOST, "the session with the token was lost", "try again")
KN_ERR_ROW(CANCELLED, "the operation was cancelled", "try again")

/* PIN */
KN_ERR_ROW(NO_PIN, "the token wants a PIN and none is configured",
           "name a file with pin-source in the URI or the configuration")
KN_ERR_ROW(PIN_SOURCE, "the PIN source cannot be used",
           "chmod 600 FILE; its owner must be the user of the program; docs/configuration.md lists the sources")
KN_ERR_ROW(PIN_INCORRECT, "the PIN is wrong", "correct the PIN source; it is not tried again until it changes")
KN_ERR_ROW(PIN_LAST_TRY, "the token has one PIN try left, which is not spent by a program",
           "log in once by hand to reset the counter")
KN_ERR_ROW(PIN_LOCKED, "the PIN is locked", "unlock it with the security officer's PIN")
KN_ERR_ROW(PIN_STATE, "the PIN must be set or changed first", "set the user PIN with the token's own tool")

/* objects */
KN_ERR_ROW(NO_KEY, "no key matches", "correct the URI; keynym key list shows what is there")
KN_ERR_ROW(AMBIGUOUS, "more than one object matches", "add id= to the URI")
KN_ERR_ROW(NO_PUBLIC, "the token has no public key for this private key",
           "store the public key or the certificate on the token, or use an alias that carries the public key")
KN_ERR_ROW(NO_CERTIFICATE, "no certificate matches", "name its file; a token can keep it: keynym cert import --key URI FILE")
KN_ERR_ROW(CERTIFICATE, "the certificate cannot be used", "have a certificate issued as docs/configuration.md says")
KN_ERR_ROW(KEY_CHANGED, "another key stands where the alias points to", "make a new alias, or restore the key")
KN_ERR_ROW(KEY_TYPE, "the type of this key is not supported", "use EC on P-256, P-384 or P-521, RSA of 2048, 3072 or 4096 bits, Ed25519, Ed448, X25519 or X448")
KN_ERR_ROW(KEY_USE, "the key does not allow this use", "use a key that was made for it")
KN_ERR_ROW(NO_EXPORT, "a private key does not leave its token: use it there", "sign with its URI or alias")
KN_ERR_ROW(EXISTS, "an object of that name exists already", "choose another name, or delete the old one first")
KN_ERR_ROW(CUSTODY, "the key is not held safely and was destroyed",
           "use a token that generates keys which are sensitive and never extractable")
KN_ERR_ROW(KEY_FILE, "the key file cannot be used", "chmod 600 FILE; its owner must be the user of the program")
KN_ERR_ROW(KEY_TEXT, "the symmetric key cannot be used", "use the primary key of the enrollment, as the service shows it")
KN_ERR_ROW(MISMATCH, "the certificate does not match the key", "use the certificate that was issued for this key")

/* data */
KN_ERR_ROW(DATA_SIZE, "the input has a size that the algorithm cannot take", "pass a digest of the right size")
KN_ERR_ROW(DECRYPT, "the ciphertext does not decrypt with this key",
           "use what was encrypted to this key, with the same padding, digests and label")
KN_ERR_ROW(PEER, "the other side's public key cannot be used", "use a valid public key on the same curve")
KN_ERR_ROW(SIGNATURE, "the signature is wrong", "check that data, signature and key belong together")
KN_ERR_ROW(DIGEST, "this digest is not supported here", "use SHA-256, SHA-384 or SHA-512")

/* TPMs */
KN_ERR_ROW(TPM_LIBRARY, "tpm2-tss cannot be loaded", "install libtss2-esys-3.0.2-0, libtss2-mu0, libtss2-tctildr0 and the TCTI that is used")
KN_ERR_ROW(NO_TPM, "no TPM answers", "check that it is there and may be opened (group tss), and the TCTI that is named (tpm2:tcti=..., KEYNYM_TCTI)")
KN_ERR_ROW(TPM_FAILED, "the TPM refused a command", "see the response code: tpm2_rc_decode CODE")
KN_ERR_ROW(TPM_LOCKOUT, "the TPM is in lockout after wrong authorizations",
           "wait, or end it with the lockout authorization: tpm2_dictionarylockout --clear-lockout")
KN_ERR_ROW(TPM_AUTH, "the TPM refuses the authorization, which is not tried again",
           "name the files with the hierarchies' authorizations: tpm2:owner-auth=FILE;endorsement-auth=FILE")
KN_ERR_ROW(TPM_SLOTS, "the TPM has no free slot for an object or a session",
           "use a resource manager (/dev/tpmrm0, tpm2-abrmd), or flush what others left: tpm2_flushcontext -t; tpm2_flushcontext -l")
KN_ERR_ROW(TPM_BUSY, "the TPM behind the PKCS#11 module refused, as it does when it has no free slot or session",
           "use a resource manager (TPM2_PKCS11_TCTI=device:/dev/tpmrm0, or tabrmd), end programs that hold it, or flush what they left: "
           "tpm2_flushcontext -t; tpm2_flushcontext -l")
KN_ERR_ROW(TPM_HANDLE, "something else is at a handle of the TPM",
           "use another handle, or remove what is not needed: tpm2_evictcontrol -C o -c HANDLE")
KN_ERR_ROW(TPM_BLOB, "the service's key for this TPM cannot be used",
           "register again; when it persists, compare the enrollment's endorsement key with keynym tpm show")
KN_ERR_ROW(TPM_FILE, "the TPM's key file cannot be used",
           "see the detail; a file belongs to one TPM and to one seed of its owner hierarchy (tpm2_clear makes another): make a new key, or take the file of this TPM")
KN_ERR_ROW(CERTIFICATION, "what the TPM certified is not this key", "do not trust the key; make a new one in a TPM that you know")
KN_ERR_ROW(NO_IDENTITY, "the TPM has no identity key yet", "register first: keynym provision --attestation tpm")
