/* ssh-key.c - new key pairs of SSH servers, and files of them. See ssh-key.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/ssh-key.h"
#include "util/digest.h"

#include <gcrypt.h>

/* More than the largest file, so that what is secret is never moved by growing. */
#define ROOM 16384
#define ED25519_BYTES 32

/* The numbers of each kind as libgcrypt names them, and their order in OpenSSH's private keys and
 * in public ones; those of elliptic curves are put together otherwise. */
static const struct
{
  const char *name, *pem, *numbers, *openssh, *public;
} kinds[] = {
    [H2K_SSH_RSA] = {"RSA", "RSA", "nedpqu", "nedupq", "en"},
    [H2K_SSH_DSA] = {"DSA", "DSA", "pqgyx", "pqgyx", "pqgy"},
    [H2K_SSH_ECDSA] = {"ECDSA", "EC", "qd", NULL, NULL},
    [H2K_SSH_ED25519] = {"ED25519", NULL, "qd", NULL, NULL},
};

/* DER of the curves' object identifiers. */
static const struct
{
  guint bits;
  const char *gcrypt, *name, *type;
  guint8 oid[10];
  guint oid_length;
} curves[] = {
    {256,
     "NIST P-256",
     "nistp256",
     "ecdsa-sha2-nistp256",
     {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
     10},
    {384,
     "NIST P-384",
     "nistp384",
     "ecdsa-sha2-nistp384",
     {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22},
     7},
    {521,
     "NIST P-521",
     "nistp521",
     "ecdsa-sha2-nistp521",
     {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23},
     7},
};

struct _H2kSshKey
{
  H2kSshKind kind;
  guint bits;
  guint curve;           /* of ECDSA */
  gcry_mpi_t numbers[6]; /* in the order of the kind's NUMBERS */
};

/* --- buffers that are wiped ------------------------------------------------------------------- */

static GByteArray *
buffer_new (void)
{
  return g_byte_array_sized_new (ROOM);
}

static void
buffer_free (GByteArray *buffer)
{
  explicit_bzero (buffer->data, buffer->len);
  g_byte_array_unref (buffer);
}

static void
put (GByteArray *out, gconstpointer data, gsize length)
{
  g_assert (out->len + length <= ROOM);
  g_byte_array_append (out, data, (guint)length);
}

static void
put_u32 (GByteArray *out, guint32 value)
{
  guint32 be = GUINT32_TO_BE (value);

  put (out, &be, sizeof be);
}

static void
put_string (GByteArray *out, gconstpointer data, gsize length)
{
  put_u32 (out, (guint32)length);
  put (out, data, length);
}

static void
put_text (GByteArray *out, const char *text)
{
  put_string (out, text, strlen (text));
}

/* As an mpint of SSH (FORMAT GCRYMPI_FMT_SSH), or its bytes as DER wants them (_STD). */
static void
put_number (GByteArray *out, enum gcry_mpi_format format, gcry_mpi_t number)
{
  guint8 bytes[1024];
  gsize length;

  if (gcry_mpi_print (format, bytes, sizeof bytes, &length, number))
    g_error ("a number of a key has more than %zu bytes", sizeof bytes);
  put (out, bytes, length);
  explicit_bzero (bytes, length);
}

/* --- what a key is made of -------------------------------------------------------------------- */

static gcry_mpi_t
number_of (const H2kSshKey *key, char name)
{
  return key->numbers[strchr (kinds[key->kind].numbers, name) - kinds[key->kind].numbers];
}

/* Bytes that libgcrypt keeps as they are: points, Ed25519's keys. */
static const guint8 *
bytes_of (const H2kSshKey *key, char name, gsize *length)
{
  unsigned bits;
  const guint8 *data = gcry_mpi_get_opaque (number_of (key, name), &bits);

  *length = (bits + 7) / 8;
  return data;
}

static void
put_numbers (GByteArray *out, const H2kSshKey *key, const char *names)
{
  for (; *names; names++)
    put_number (out, GCRYMPI_FMT_SSH, number_of (key, *names));
}

static const char *
type_of (const H2kSshKey *key)
{
  static const char *const types[]
      = {[H2K_SSH_RSA] = "ssh-rsa", [H2K_SSH_DSA] = "ssh-dss", [H2K_SSH_ED25519] = "ssh-ed25519"};

  return key->kind == H2K_SSH_ECDSA ? curves[key->curve].type : types[key->kind];
}

static GByteArray *
public_blob (const H2kSshKey *key)
{
  GByteArray *out = buffer_new ();
  const guint8 *point;
  gsize length;

  put_text (out, type_of (key));
  if (kinds[key->kind].public)
    {
      put_numbers (out, key, kinds[key->kind].public);
      return out;
    }
  if (key->kind == H2K_SSH_ECDSA)
    put_text (out, curves[key->curve].name);
  point = bytes_of (key, 'q', &length);
  put_string (out, point, length);
  return out;
}

/* --- making ----------------------------------------------------------------------------------- */

void
h2k_ssh_key_free (H2kSshKey *key)
{
  if (!key)
    return;
  for (guint i = 0; i < G_N_ELEMENTS (key->numbers); i++)
    {
      /* libgcrypt wipes numbers that it is told are secret. */
      if (key->numbers[i] && !gcry_mpi_get_flag (key->numbers[i], GCRYMPI_FLAG_OPAQUE))
        gcry_mpi_set_flag (key->numbers[i], GCRYMPI_FLAG_SECURE);
      gcry_mpi_release (key->numbers[i]);
    }
  g_free (key);
}

static guint
usable_bits (H2kSshKind kind, guint bits)
{
  switch (kind)
    {
    case H2K_SSH_RSA:
      return (CLAMP (bits, 2048, 4096) + 7) & ~7u;
    case H2K_SSH_DSA:
      return 1024;
    case H2K_SSH_ED25519:
      return 256;
    default:
      return bits;
    }
}

static gcry_error_t
generate (const H2kSshKey *key, gcry_sexp_t *made)
{
  gcry_sexp_t wanted = NULL;
  gcry_error_t failed;

  if (key->kind == H2K_SSH_ED25519)
    failed = gcry_sexp_build (&wanted, NULL, "(genkey (ecc (curve Ed25519) (flags eddsa)))");
  else if (key->kind == H2K_SSH_ECDSA)
    failed
        = gcry_sexp_build (&wanted, NULL, "(genkey (ecc (curve %s)))", curves[key->curve].gcrypt);
  else if (key->kind == H2K_SSH_RSA)
    failed = gcry_sexp_build (&wanted, NULL, "(genkey (rsa (nbits %u)))", key->bits);
  else
    failed = gcry_sexp_build (&wanted, NULL, "(genkey (dsa (nbits %u)))", key->bits);
  if (!failed)
    failed = gcry_pk_genkey (made, wanted);
  gcry_sexp_release (wanted);
  return failed;
}

static gcry_error_t
take_numbers (H2kSshKey *key, gcry_sexp_t made)
{
  gcry_sexp_t secret = gcry_sexp_find_token (made, "private-key", 0);
  gcry_mpi_t *n = key->numbers;
  gcry_error_t failed;
  gsize length;

  switch (key->kind)
    {
    case H2K_SSH_RSA:
      failed = gcry_sexp_extract_param (secret, NULL, "nedpqu", n, n + 1, n + 2, n + 3, n + 4,
                                        n + 5, NULL);
      break;
    case H2K_SSH_DSA:
      failed = gcry_sexp_extract_param (secret, NULL, "pqgyx", n, n + 1, n + 2, n + 3, n + 4, NULL);
      break;
    case H2K_SSH_ECDSA:
      failed = gcry_sexp_extract_param (secret, NULL, "/q+d", n, n + 1, NULL);
      break;
    default:
      failed = gcry_sexp_extract_param (secret, NULL, "/qd", n, n + 1, NULL);
      for (guint i = 0; !failed && i < 2; i++)
        {
          bytes_of (key, kinds[key->kind].numbers[i], &length);
          failed = length == ED25519_BYTES ? 0 : gcry_error (GPG_ERR_INV_LENGTH);
        }
    }
  gcry_sexp_release (secret);
  /* libgcrypt has u = 1/p mod q, everyone else 1/q mod p: the primes change places. */
  if (!failed && key->kind == H2K_SSH_RSA)
    gcry_mpi_swap (n[3], n[4]);
  return failed;
}

H2kSshKey *
h2k_ssh_key_new (H2kSshKind kind, guint bits, GError **error)
{
  g_autoptr (H2kSshKey) key = g_new0 (H2kSshKey, 1);
  gcry_sexp_t made = NULL;
  gcry_error_t failed;

  h2k_gcrypt_start ();
  key->kind = kind;
  key->bits = usable_bits (kind, bits);
  while (kind == H2K_SSH_ECDSA && key->curve + 1 < G_N_ELEMENTS (curves)
         && curves[key->curve].bits < key->bits)
    key->curve++;
  if (kind == H2K_SSH_ECDSA)
    key->bits = curves[key->curve].bits;
  failed = generate (key, &made);
  if (!failed)
    failed = take_numbers (key, made);
  gcry_sexp_release (made);
  if (!failed)
    return g_steal_pointer (&key);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "no %s key can be made: %s", kinds[kind].name,
               gcry_strerror (failed));
  return NULL;
}

/* --- the forms of a private key --------------------------------------------------------------- */

/* Ed25519's secret as both write it. */
static void
put_seed (GByteArray *out, const H2kSshKey *key)
{
  gsize length;
  const guint8 *seed = bytes_of (key, 'd', &length);

  put_u32 (out, 2 * ED25519_BYTES);
  put (out, seed, ED25519_BYTES);
  put (out, bytes_of (key, 'q', &length), ED25519_BYTES);
}

static void
put_openssh_secret (GByteArray *out, const H2kSshKey *key)
{
  g_autoptr (GByteArray) blob = public_blob (key);

  if (kinds[key->kind].openssh)
    {
      put_text (out, type_of (key));
      put_numbers (out, key, kinds[key->kind].openssh);
      return;
    }
  put (out, blob->data, blob->len);
  if (key->kind == H2K_SSH_ECDSA)
    put_numbers (out, key, "d");
  else
    put_seed (out, key);
}

static GByteArray *
openssh_binary (const H2kSshKey *key, const char *comment)
{
  GByteArray *out = buffer_new (), *secret = buffer_new ();
  g_autoptr (GByteArray) blob = public_blob (key);
  guint32 check = g_random_int ();

  put_u32 (secret, check);
  put_u32 (secret, check);
  put_openssh_secret (secret, key);
  put_text (secret, comment);
  for (guint8 i = 1; secret->len % 8; i++)
    put (secret, &i, 1);
  put (out, "openssh-key-v1", sizeof "openssh-key-v1");
  put_text (out, "none");
  put_text (out, "none");
  put_text (out, "");
  put_u32 (out, 1);
  put_string (out, blob->data, blob->len);
  put_string (out, secret->data, secret->len);
  buffer_free (secret);
  return out;
}

static GByteArray *
dropbear_binary (const H2kSshKey *key)
{
  GByteArray *out = buffer_new ();
  g_autoptr (GByteArray) blob = public_blob (key);

  if (key->kind == H2K_SSH_RSA)
    {
      put (out, blob->data, blob->len);
      put_numbers (out, key, "dpq");
    }
  else if (key->kind == H2K_SSH_ED25519)
    {
      put_text (out, type_of (key));
      put_seed (out, key);
    }
  else
    {
      put (out, blob->data, blob->len);
      put_numbers (out, key, key->kind == H2K_SSH_DSA ? "x" : "d");
    }
  return out;
}

/* --- PEM -------------------------------------------------------------------------------------- */

/* A DER element: TAG, the length, DATA. */
static void
put_der (GByteArray *out, guint8 tag, gconstpointer data, gsize length)
{
  guint8 head[4] = {tag, (guint8)length};
  gsize size = 2;

  if (length >= 0x100)
    {
      head[1] = 0x82;
      head[2] = (guint8)(length >> 8);
      head[3] = (guint8)length;
      size = 4;
    }
  else if (length >= 0x80)
    {
      head[1] = 0x81;
      head[2] = (guint8)length;
      size = 3;
    }
  put (out, head, size);
  put (out, data, length);
}

static void
put_der_number (GByteArray *out, gcry_mpi_t number)
{
  GByteArray *bytes = buffer_new ();

  put_number (bytes, GCRYMPI_FMT_STD, number);
  put_der (out, 0x02, bytes->data, bytes->len);
  buffer_free (bytes);
}

/* RFC 8017 A.1.2: the two exponents of the remainder theorem come before its coefficient. */
static void
put_rsa_exponents (GByteArray *out, const H2kSshKey *key)
{
  gcry_mpi_t part = gcry_mpi_snew (key->bits);

  for (const char *name = "pq"; *name; name++)
    {
      gcry_mpi_t less = gcry_mpi_snew (key->bits);
      gcry_mpi_sub_ui (less, number_of (key, *name), 1);
      gcry_mpi_mod (part, number_of (key, 'd'), less);
      put_der_number (out, part);
      gcry_mpi_release (less);
    }
  gcry_mpi_release (part);
}

/* RFC 5915. */
static void
put_ec (GByteArray *out, const H2kSshKey *key)
{
  guint8 secret[66], point[1 + 133] = {0};
  gsize width = (key->bits + 7) / 8, length;
  GByteArray *bytes = buffer_new ();
  g_autoptr (GByteArray) public = buffer_new ();
  const guint8 *q = bytes_of (key, 'q', &length);

  put_number (bytes, GCRYMPI_FMT_USG, number_of (key, 'd'));
  memset (secret, 0, sizeof secret);
  memcpy (secret + width - bytes->len, bytes->data, bytes->len);
  put_der (out, 0x02, "\1", 1);
  put_der (out, 0x04, secret, width);
  put_der (out, 0xa0, curves[key->curve].oid, curves[key->curve].oid_length);
  memcpy (point + 1, q, MIN (length, sizeof point - 1));
  put_der (public, 0x03, point, 1 + MIN (length, sizeof point - 1));
  put_der (out, 0xa1, public->data, public->len);
  explicit_bzero (secret, sizeof secret);
  buffer_free (bytes);
}

static GByteArray *
pem_binary (const H2kSshKey *key)
{
  GByteArray *out = buffer_new (), *body = buffer_new ();

  if (key->kind == H2K_SSH_ECDSA)
    put_ec (body, key);
  else
    put_der (body, 0x02, "\0", 1);
  if (key->kind == H2K_SSH_RSA)
    {
      for (const char *name = "nedpq"; *name; name++)
        put_der_number (body, number_of (key, *name));
      put_rsa_exponents (body, key);
      put_der_number (body, number_of (key, 'u'));
    }
  else if (key->kind == H2K_SSH_DSA)
    for (const char *name = kinds[key->kind].numbers; *name; name++)
      put_der_number (body, number_of (key, *name));
  put_der (out, 0x30, body->data, body->len);
  buffer_free (body);
  return out;
}

/* --- files ------------------------------------------------------------------------------------ */

static void
wipe (gpointer data)
{
  buffer_free (data);
}

/* BINARY, which is taken over, between PEM's lines about LABEL. */
static GByteArray *
armour (GByteArray *binary, const char *label, guint columns)
{
  GByteArray *out = buffer_new ();
  char *text = g_base64_encode (binary->data, binary->len);
  gsize length = strlen (text);
  g_autofree char *head = g_strdup_printf ("-----BEGIN %s PRIVATE KEY-----\n", label);
  g_autofree char *foot = g_strdup_printf ("-----END %s PRIVATE KEY-----\n", label);

  put (out, head, strlen (head));
  for (gsize at = 0; at < length; at += columns)
    {
      put (out, text + at, MIN (columns, length - at));
      put (out, "\n", 1);
    }
  put (out, foot, strlen (foot));
  explicit_bzero (text, length);
  g_free (text);
  buffer_free (binary);
  return out;
}

GBytes *
h2k_ssh_key_private (const H2kSshKey *key, H2kSshForm form, const char *comment)
{
  GByteArray *file;

  if (form == H2K_SSH_FORM_DROPBEAR)
    file = dropbear_binary (key);
  else if (form == H2K_SSH_FORM_PEM && kinds[key->kind].pem)
    file = armour (pem_binary (key), kinds[key->kind].pem, 64);
  else
    file = armour (openssh_binary (key, comment), "OPENSSH", 70);
  return g_bytes_new_with_free_func (file->data, file->len, wipe, file);
}

char *
h2k_ssh_key_public (const H2kSshKey *key, const char *comment)
{
  g_autoptr (GByteArray) blob = public_blob (key);
  g_autofree char *text = g_base64_encode (blob->data, blob->len);

  return g_strconcat (type_of (key), " ", text, *comment ? " " : "", comment, "\n", NULL);
}

char *
h2k_ssh_key_fingerprint (const H2kSshKey *key)
{
  g_autoptr (GByteArray) blob = public_blob (key);

  return h2k_ssh_fingerprint (blob->data, blob->len);
}

char *
h2k_ssh_key_describe (const H2kSshKey *key)
{
  return g_strdup_printf ("%s, %u bits", kinds[key->kind].name, key->bits);
}
