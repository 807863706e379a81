#include "dps_peer.h"

#include <stdio.h>

#include <openssl/evp.h>
#include <openssl/objects.h>

static const char *signature_kind(int type_nid)
{
    switch (type_nid) { /* OpenSSL's numbers, not an enum of ours */
    case EVP_PKEY_RSA:
        return "RSA-PKCS1";
    case EVP_PKEY_RSA_PSS:
        return "RSA-PSS";
    case EVP_PKEY_EC:
        return "ECDSA";
    default:
        return OBJ_nid2sn(type_nid);
    }
}

static void signature_text(SSL *ssl, char out[DPS_TLS_TEXT_LEN])
{
    int type_nid = NID_undef;
    int hash_nid = NID_undef;
    out[0] = '\0';
    if (SSL_get_peer_signature_type_nid(ssl, &type_nid) != 1 || type_nid == NID_undef)
        return;
    /* Ed25519 and Ed448 have no separate hash. */
    if (SSL_get_peer_signature_nid(ssl, &hash_nid) == 1 && hash_nid != NID_undef)
        snprintf(out, DPS_TLS_TEXT_LEN, "%s-%s", signature_kind(type_nid), OBJ_nid2sn(hash_nid));
    else
        snprintf(out, DPS_TLS_TEXT_LEN, "%s", signature_kind(type_nid));
}

bool dps_peer_from_ssl(SSL *ssl, const char *address, dps_peer *ret_peer)
{
    dps_peer peer = {.leaf = SSL_get1_peer_certificate(ssl)};
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    if (peer.leaf != NULL && chain != NULL) {
        peer.untrusted = X509_chain_up_ref(chain);
        if (peer.untrusted == NULL) {
            dps_peer_clear(&peer);
            return false;
        }
    }
    snprintf(peer.tls_version, sizeof(peer.tls_version), "%s", SSL_get_version(ssl));
    snprintf(peer.tls_cipher, sizeof(peer.tls_cipher), "%s", SSL_get_cipher_name(ssl));
    if (peer.leaf != NULL)
        signature_text(ssl, peer.tls_signature);
    snprintf(peer.address, sizeof(peer.address), "%s", address);
    *ret_peer = peer;
    return true;
}

void dps_peer_clear(dps_peer *peer)
{
    X509_free(peer->leaf);
    sk_X509_pop_free(peer->untrusted, X509_free);
    *peer = (dps_peer){0};
}
