// TLS 1.3 to the host over a connected socket, by Mbed TLS: the client's side alone, as tls_config.h has it. One
// connection at a time. Nothing here waits: -EAGAIN is "when it can be read", -EINPROGRESS "when it can be written".
//
// `connection` owns all that TLS holds, keys included; the socket stays its opener's. close_tls() wipes and frees it.
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "mbedtls/error.h"
#include "mbedtls/pk.h"
#include "mbedtls/psa_util.h"
#include "mbedtls/ssl.h"
#include "mbedtls/x509_crt.h"
#include "psa/crypto.h"
#include "sys.h"

// 2026-01-01. No clock that is right shows less: a guest without one is at 1970, or at the day its kernel was built.
#define EARLIEST_TIME 1767225600
// RFC 8446, section 6: of the last alert, where there was one.
#define NO_ALERT (-1)

static struct {
  bool open;
  int fd;
  mbedtls_ssl_context ssl;
  mbedtls_ssl_config config;
  mbedtls_x509_crt authorities, own;
  mbedtls_pk_context key;
  // What was wrong last: Mbed TLS's number, what its check of the host's certificate found, the host's alert.
  int error, alert;
  uint32_t flags;
} connection;

// What Mbed TLS takes all of its random numbers from.
psa_status_t mbedtls_psa_external_get_random(mbedtls_psa_external_random_context_t *unused, uint8_t *output, size_t size,
                                             size_t *written) {
  (void)unused;
  for (*written = 0; *written < size;) {
    ssize_t count = getrandom(output + *written, size - *written, 0);
    if (count < 0 && errno != EINTR) return PSA_ERROR_INSUFFICIENT_ENTROPY;
    if (count > 0) *written += (size_t)count;
  }
  return PSA_SUCCESS;
}

static int receive_bytes(void *unused, unsigned char *into, size_t size) {
  (void)unused;
  ssize_t count = read(connection.fd, into, size);
  if (count >= 0) return (int)count;
  return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_CONN_EOF;
}

static int send_bytes(void *unused, const unsigned char *bytes, size_t size) {
  (void)unused;
  ssize_t count = write(connection.fd, bytes, size);
  if (count >= 0) return (int)count;
  return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_CONN_EOF;
}

// Without a clock the dates of a certificate say nothing, and its authority still does.
static int forgive_dates(void *unused, mbedtls_x509_crt *certificate, int depth, uint32_t *flags) {
  (void)unused, (void)certificate, (void)depth;
  if (time(NULL) < EARLIEST_TIME) *flags &= ~(uint32_t)(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE);
  return 0;
}

static void close_tls(void) {
  if (!connection.open) return;
  mbedtls_ssl_free(&connection.ssl);
  mbedtls_ssl_config_free(&connection.config);
  mbedtls_x509_crt_free(&connection.authorities);
  mbedtls_x509_crt_free(&connection.own);
  mbedtls_pk_free(&connection.key);
  connection.open = false;
}

// Remembers what went wrong, for sys_tls_problem. -EPROTO.
static int fault(int error) {
  connection.error = error;
  connection.flags = mbedtls_ssl_get_verify_result(&connection.ssl);
  const unsigned char *message = connection.ssl.MBEDTLS_PRIVATE(in_msg);
  connection.alert = error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE && message ? message[1] : NO_ALERT;
  return -EPROTO;
}

// What a call of Mbed TLS gave, as a call of the system does.
static int outcome(int result) {
  if (result >= 0) return result;
  if (result == MBEDTLS_ERR_SSL_WANT_READ) return -EAGAIN;
  if (result == MBEDTLS_ERR_SSL_WANT_WRITE) return -EINPROGRESS;
  return fault(result);
}

// PEM is read up to a NUL, which bytes from JavaScript have not.
static char *with_nul(const uint8_t *bytes, size_t size) {
  char *text = malloc(size + 1);
  if (!text) return NULL;
  memcpy(text, bytes, size);
  text[size] = 0;
  return text;
}

static int take_identity(const char *text, size_t size) {
  const unsigned char *pem = (const unsigned char *)text;
  int result = mbedtls_x509_crt_parse(&connection.own, pem, size + 1);
  if (result == 0) {
    result = mbedtls_pk_parse_key(&connection.key, pem, size + 1, NULL, 0, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
  }
  if (result == 0) {
    result = mbedtls_pk_check_pair(&connection.own.pk, &connection.key, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
  }
  return result ? result : mbedtls_ssl_conf_own_cert(&connection.config, &connection.own, &connection.key);
}

static int take_authorities(const char *text, size_t size) {
  int result = mbedtls_x509_crt_parse(&connection.authorities, (const unsigned char *)text, size + 1);
  mbedtls_ssl_conf_ca_chain(&connection.config, &connection.authorities, NULL);
  return result;
}

static int configure(const char *host) {
  int result = mbedtls_ssl_config_defaults(&connection.config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                           MBEDTLS_SSL_PRESET_DEFAULT);
  if (result) return result;
  mbedtls_ssl_conf_rng(&connection.config, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
  mbedtls_ssl_conf_authmode(&connection.config, MBEDTLS_SSL_VERIFY_REQUIRED);
  mbedtls_ssl_conf_verify(&connection.config, forgive_dates, NULL);
  result = mbedtls_ssl_setup(&connection.ssl, &connection.config);
  if (result) return result;
  mbedtls_ssl_set_bio(&connection.ssl, NULL, send_bytes, receive_bytes, NULL);
  return mbedtls_ssl_set_hostname(&connection.ssl, host);
}

static int open_tls(int fd, const char *host, const char *identity, size_t identity_size, const char *authorities,
                    size_t authorities_size) {
  if (psa_crypto_init() != PSA_SUCCESS) return -EIO;
  mbedtls_ssl_init(&connection.ssl);
  mbedtls_ssl_config_init(&connection.config);
  mbedtls_x509_crt_init(&connection.authorities);
  mbedtls_x509_crt_init(&connection.own);
  mbedtls_pk_init(&connection.key);
  connection.open = true;
  connection.fd = fd;
  int result = take_identity(identity, identity_size);
  if (result == 0) result = take_authorities(authorities, authorities_size);
  // How many of several certificates could not be read.
  if (result > 0) result = MBEDTLS_ERR_X509_INVALID_FORMAT;
  if (result == 0) result = configure(host);
  if (result == 0) return 0;
  result = fault(result);
  close_tls();
  return result;
}

SYS_CALL(sys_tls_open) {
  int fd;
  uint8_t *identity, *authorities;
  size_t identity_size, authorities_size;
  if (!sys_int(ctx, argv[0], 0, INT_MAX, &fd) || !sys_bytes(ctx, argv[2], &identity, &identity_size) ||
      !sys_bytes(ctx, argv[3], &authorities, &authorities_size)) {
    return JS_EXCEPTION;
  }
  if (connection.open) return JS_NewInt32(ctx, -EBUSY);
  const char *host = sys_text(ctx, argv[1]);
  if (!host) return JS_EXCEPTION;
  char *own = with_nul(identity, identity_size);
  char *trusted = with_nul(authorities, authorities_size);
  int result = -ENOMEM;
  if (own && trusted) result = open_tls(fd, host, own, identity_size, trusted, authorities_size);
  if (own) explicit_bzero(own, identity_size);
  free(own);
  free(trusted);
  JS_FreeCString(ctx, host);
  return JS_NewInt32(ctx, result);
}

SYS_CALL(sys_tls_handshake) {
  return JS_NewInt32(ctx, connection.open ? outcome(mbedtls_ssl_handshake(&connection.ssl)) : -EBADF);
}

SYS_CALL(sys_tls_read) {
  uint8_t *into;
  size_t size;
  if (!sys_bytes(ctx, argv[0], &into, &size)) return JS_EXCEPTION;
  if (!connection.open) return JS_NewInt32(ctx, -EBADF);
  int result = mbedtls_ssl_read(&connection.ssl, into, size);
  // An answer that is cut off here is known by its length.
  if (result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || result == MBEDTLS_ERR_SSL_CONN_EOF) result = 0;
  return JS_NewInt32(ctx, outcome(result));
}

SYS_CALL(sys_tls_write) {
  uint8_t *bytes;
  size_t size;
  if (!sys_bytes(ctx, argv[0], &bytes, &size)) return JS_EXCEPTION;
  return JS_NewInt32(ctx, connection.open ? outcome(mbedtls_ssl_write(&connection.ssl, bytes, size)) : -EBADF);
}

SYS_CALL(sys_tls_problem) {
  const int64_t numbers[] = {-(int64_t)connection.error, connection.flags, connection.alert};
  JSValue list = JS_NewArray(ctx);
  for (uint32_t at = 0; at < COUNT(numbers); at++) JS_SetPropertyUint32(ctx, list, at, JS_NewInt64(ctx, numbers[at]));
  return list;
}

SYS_CALL(sys_tls_close) {
  close_tls();
  return JS_NewInt32(ctx, 0);
}
