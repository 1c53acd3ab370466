/* SPDX-License-Identifier: Apache-2.0
 * Copyright the vmiefs authors
 *
 * The HTTP client over TLS: which certificates it accepts, and what it says
 * of the others. Keys and certificates are made here. */
#include "config.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "tests/tap.h"
#include "tests/unit/http-client.h"

#define DAY  (24 * 60 * 60L)
#define BODY "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"

struct identity {
	EVP_PKEY *key;
	X509 *certificate;
};

struct made {
	const char *name; /* of the authority, or the host's alternatives */
	long from, to;    /* seconds from now */
	bool is_authority;
};

static void must(bool good, const char *what)
{
	if (good)
		return;
	printf("Bail out! %s\n", what);
	exit(1);
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(extension && X509_add_ext(certificate, extension, -1),
	     "extension");
	X509_EXTENSION_free(extension);
}

/* Signed by issuer, or by itself where that is NULL. */
static struct identity make_identity(const struct made *made,
				     const struct identity *issuer)
{
	struct identity id = { EVP_EC_gen("P-256"), X509_new() };
	const char *common = made->is_authority ? made->name : "a test host";
	X509_NAME *name = X509_get_subject_name(id.certificate);
	const struct identity *signer = issuer ? issuer : &id;

	must(id.key && id.certificate, "key");
	X509_set_version(id.certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(id.certificate),
			 made->is_authority ? 1 : 2);
	X509_gmtime_adj(X509_getm_notBefore(id.certificate), made->from);
	X509_gmtime_adj(X509_getm_notAfter(id.certificate), made->to);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
				   (const unsigned char *)common, -1, -1, 0);
	X509_set_issuer_name(id.certificate,
			     X509_get_subject_name(signer->certificate));
	X509_set_pubkey(id.certificate, id.key);
	if (made->is_authority)
		add_extension(id.certificate, NID_basic_constraints,
			      "critical,CA:TRUE");
	else
		add_extension(id.certificate, NID_subject_alt_name,
			      made->name);
	must(X509_sign(id.certificate, signer->key, EVP_sha256()) > 0, "sign");
	return id;
}

static void free_identity(struct identity *id)
{
	X509_free(id->certificate);
	EVP_PKEY_free(id->key);
}

/* A scripted server over TLS. */

static bool tls_begin(struct script_connection *c, void *arg)
{
	SSL *ssl = SSL_new(arg);

	SSL_set_fd(ssl, c->fd);
	c->own = ssl;
	if (SSL_accept(ssl) == 1)
		return true;
	SSL_free(ssl);
	return false;
}

static long tls_read(struct script_connection *c, void *data, size_t size)
{
	return SSL_read(c->own, data, (int)size);
}

static long tls_write(struct script_connection *c, const void *data,
		      size_t size)
{
	return SSL_write(c->own, data, (int)size);
}

static void tls_end(struct script_connection *c)
{
	SSL_free(c->own);
}

static SSL_CTX *server_context(const struct identity *id, int version_max)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	must(context && SSL_CTX_use_certificate(context, id->certificate) &&
	     SSL_CTX_use_PrivateKey(context, id->key), "server");
	SSL_CTX_set_max_proto_version(context, version_max);
	/* Or OpenSSL itself would refuse what is older than TLS 1.2. */
	SSL_CTX_set_security_level(context, 0);
	return context;
}

static struct script_server *tls_server(SSL_CTX *context,
					const struct answer *answer)
{
	struct script_transport transport = { tls_begin, tls_read, tls_write,
					      tls_end, context };

	return script_server_start(serve_answer, (void *)answer, &transport);
}

/* The authority's certificate in a file, and one that is none. */
static char bundle_path[] = "/tmp/vmiefs-test-XXXXXX";
static char garbage_path[] = "/tmp/vmiefs-test-XXXXXX";
static char config_path[] = "/tmp/vmiefs-test-XXXXXX";

static void write_bundles(const struct identity *authority)
{
	FILE *bundle = fdopen(mkstemp(bundle_path), "w");
	FILE *garbage = fdopen(mkstemp(garbage_path), "w");

	must(bundle && garbage, "temporary files");
	must(PEM_write_X509(bundle, authority->certificate), "PEM");
	fputs("no certificate\n", garbage);
	fclose(bundle);
	fclose(garbage);
}

/* OpenSSL as lax as can be: that old versions are refused is our own doing. */
static void relax_openssl(void)
{
	FILE *config = fdopen(mkstemp(config_path), "w");

	must(config, "temporary file");
	fputs("openssl_conf = all\n[all]\nssl_conf = ssl\n"
	      "[ssl]\nsystem_default = lax\n"
	      "[lax]\nMinProtocol = TLSv1\n"
	      "CipherString = DEFAULT:@SECLEVEL=0\n", config);
	fclose(config);
	setenv("OPENSSL_CONF", config_path, 1);
}

static const struct made authority = { "the test's authority", -DAY, DAY,
				       true };

static const struct row {
	const char *name;
	struct made leaf;
	const char *bundle;
	const char *host;
	const char *part; /* of the refusal; NULL: accepted */
	bool is_self_signed;
	int version_max;
	enum error_kind kind; /* 0 = ERR_DENIED */
} rows[] = {
	{ "good by address", { "IP:127.0.0.1", -DAY, DAY }, bundle_path,
	  "127.0.0.1", NULL },
	{ "good by name", { "DNS:localhost", -DAY, DAY }, bundle_path,
	  "localhost", NULL },
	{ "good by wildcard", { "DNS:*.s3.localhost", -DAY, DAY },
	  bundle_path, "bucket.s3.localhost", NULL },
	{ "TLS 1.2", { "IP:127.0.0.1", -DAY, DAY }, bundle_path, "127.0.0.1",
	  NULL, .version_max = TLS1_2_VERSION },
	{ "unknown authority", { "IP:127.0.0.1", -DAY, DAY }, NULL,
	  "127.0.0.1", "unknown authority; if that is right, name its "
	  "certificates with ca-bundle=FILE" },
	{ "self-signed", { "IP:127.0.0.1", -DAY, DAY }, bundle_path,
	  "127.0.0.1", "is signed by an unknown authority", true },
	{ "another name", { "DNS:s3.example.com", -DAY, DAY }, bundle_path,
	  "localhost", "is for another host name" },
	{ "another address", { "IP:127.0.0.2", -DAY, DAY }, bundle_path,
	  "127.0.0.1", "is for another host name" },
	{ "two levels", { "DNS:*.s3.localhost", -DAY, DAY }, bundle_path,
	  "my.bucket.s3.localhost", "is for another host name" },
	{ "expired", { "IP:127.0.0.1", -2 * DAY, -DAY }, bundle_path,
	  "127.0.0.1", "has expired" },
	{ "not yet valid", { "IP:127.0.0.1", DAY, 2 * DAY }, bundle_path,
	  "127.0.0.1", "is not valid yet" },
	{ "garbage as bundle", { "IP:127.0.0.1", -DAY, DAY }, garbage_path,
	  "127.0.0.1", "cannot use the certificates of ca-bundle /tmp/" },
	{ "TLS 1.1", { "IP:127.0.0.1", -DAY, DAY }, bundle_path, "127.0.0.1",
	  "no agreement on TLS", .version_max = TLS1_1_VERSION,
	  .kind = ERR_NETWORK },
};

static void check_row(const struct row *row, const struct identity *ca)
{
	static const struct answer answer = { BODY };
	struct http_options options = { .ca_bundle = row->bundle };
	struct identity leaf = make_identity(
		&row->leaf, row->is_self_signed ? NULL : ca);
	SSL_CTX *context = server_context(&leaf, row->version_max);
	char data[11] = "";
	struct iovec iov = { data, 10 };
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &answer, &options);
	script_server_stop(c.server);
	c.server = tls_server(context, &answer);
	snprintf(c.url, sizeof(c.url), "https://%s:%d/?sig=secret", row->host,
		 script_server_port(c.server));
	c.request.iov = &iov;
	c.request.iovcnt = 1;
	if (row->part) {
		fails_with(client_perform(&c, &err), &err,
			   row->kind ? row->kind : ERR_DENIED, row->part,
			   row->name);
		ok(!strncmp(err.text, row->host, strlen(row->host)),
		   "the host is named: %s", err.text);
	} else {
		succeeds(client_perform(&c, &err), &err, row->name);
		is_str(data, "0123456789", "the body");
		succeeds(client_perform(&c, &err), &err, "once more");
	}
	ok(script_server_connections(c.server) <= 1, "one connection");
	client_end(&c);
	SSL_CTX_free(context);
	free_identity(&leaf);
}

static void serve_plain(struct script_connection *c)
{
	char byte;

	if (script_peek(c, &byte))
		script_say(c, "HTTP/1.1 400 Bad Request\r\n\r\n");
}

static void test_plain_server(void)
{
	struct http_options options = { .ca_bundle = bundle_path };
	struct client c;
	struct error err;

	client_begin(&c, serve_plain, NULL, &options);
	client_url(&c, "https", "/");
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
		   "what answers there is not TLS; is it http://",
		   "a server without TLS");
	client_end(&c);
}

/* The connection ends without TLS's own goodbye. */
static void test_cut(const struct identity *ca)
{
	static const struct answer cut = {
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", CLOSE };
	static const struct made made = { "IP:127.0.0.1", -DAY, DAY };
	struct http_options options = { .ca_bundle = bundle_path };
	struct identity leaf = make_identity(&made, ca);
	SSL_CTX *context = server_context(&leaf, 0);
	char data[10];
	struct iovec iov = { data, sizeof(data) };
	struct client c;
	struct error err;

	client_begin(&c, serve_answer, &cut, &options);
	script_server_stop(c.server);
	c.server = tls_server(context, &cut);
	client_url(&c, "https", "/");
	c.request.iov = &iov;
	c.request.iovcnt = 1;
	fails_with(client_perform(&c, &err), &err, ERR_NETWORK,
		   "the answer was cut off after 5 of 10 bytes",
		   "an answer cut off");
	is_u64(c.response.filled, 5, "filled");
	client_end(&c);
	SSL_CTX_free(context);
	free_identity(&leaf);
}

int main(void)
{
	struct identity ca;

	relax_openssl();
	ca = make_identity(&authority, NULL);
	unsetenv("https_proxy");
	unsetenv("HTTPS_PROXY");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	write_bundles(&ca);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i], &ca);
	test_plain_server();
	test_cut(&ca);
	unlink(bundle_path);
	unlink(garbage_path);
	unlink(config_path);
	free_identity(&ca);
	return tap_done();
}
