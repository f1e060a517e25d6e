/* ssh-key-read.c - what a file of an SSH server's key holds. See ssh-key.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/ssh-key.h"

/* Those whose name tells the size. */
static const struct
{
  const char *type;
  H2kSshKind kind;
  guint bits;
} fixed[] = {
    {"ecdsa-sha2-nistp256", H2K_SSH_ECDSA, 256},
    {"ecdsa-sha2-nistp384", H2K_SSH_ECDSA, 384},
    {"ecdsa-sha2-nistp521", H2K_SSH_ECDSA, 521},
    {"ssh-ed25519", H2K_SSH_ED25519, 256},
};

char *
h2k_ssh_fingerprint (gconstpointer blob, gsize length)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  guint8 digest[32];
  gsize size = sizeof digest;
  g_autofree char *text = NULL;

  g_checksum_update (sum, blob, (gssize)length);
  g_checksum_get_digest (sum, digest, &size);
  text = g_base64_encode (digest, size);
  text[strcspn (text, "=")] = '\0';
  return g_strconcat ("SHA256:", text, NULL);
}

/* What is left to be read of a buffer. */
typedef struct
{
  const guint8 *data;
  gsize length;
} Cursor;

static gboolean
take (Cursor *c, Cursor *out)
{
  gsize length;

  if (c->length < 4 || (length = h2k_be32 (c->data)) > c->length - 4)
    return FALSE;
  *out = (Cursor){c->data + 4, length};
  c->data += 4 + length;
  c->length -= 4 + length;
  return TRUE;
}

static gboolean
is_text (const Cursor *c, const char *text)
{
  return c->length == strlen (text) && memcmp (c->data, text, c->length) == 0;
}

static guint
count_bits (Cursor number)
{
  while (number.length && *number.data == 0)
    {
      number.data++;
      number.length--;
    }
  if (!number.length || number.length > 4096)
    return 0;
  return (guint)(8 * (number.length - 1)) + g_bit_storage (*number.data);
}

/* The kind and size that the public part at C tells; what follows it is not looked at. */
static gboolean
read_public (Cursor c, H2kSshKeyInfo *info)
{
  Cursor type, number, modulus;

  if (!take (&c, &type))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (fixed); i++)
    if (is_text (&type, fixed[i].type))
      {
        info->kind = fixed[i].kind;
        info->bits = fixed[i].bits;
        return TRUE;
      }
  if (!take (&c, &number))
    return FALSE;
  if (is_text (&type, "ssh-dss"))
    {
      info->kind = H2K_SSH_DSA;
      info->bits = count_bits (number);
      return info->bits > 0;
    }
  if (!is_text (&type, "ssh-rsa") || !take (&c, &modulus))
    return FALSE;
  info->kind = H2K_SSH_RSA;
  info->bits = count_bits (modulus);
  return info->bits > 0;
}

/* "ssh-rsa AAAA... comment" */
static gboolean
read_public_line (const char *line, H2kSshKeyInfo *info)
{
  g_auto (GStrv) words = g_strsplit (line, " ", 3);
  g_autofree guchar *blob = NULL;
  gsize length;

  if (!words[0] || !words[1])
    return FALSE;
  blob = g_base64_decode (words[1], &length);
  if (!read_public ((Cursor){blob, length}, info))
    return FALSE;
  info->fingerprint = h2k_ssh_fingerprint (blob, length);
  return TRUE;
}

static gboolean
read_openssh (const char *text, H2kSshKeyInfo *info)
{
  static const char magic[] = "openssh-key-v1";
  const char *end = strstr (text, "\n-----END");
  g_autofree char *body = end ? g_strndup (text, (gsize)(end - text)) : NULL;
  gsize length = 0;
  guchar *binary = body ? g_base64_decode (body, &length) : NULL;
  Cursor c = {binary, length}, cipher, kdf, options, blob;
  gboolean ok = binary && length > sizeof magic && memcmp (binary, magic, sizeof magic) == 0;

  if (ok)
    {
      c = (Cursor){binary + sizeof magic, length - sizeof magic};
      ok = take (&c, &cipher) && is_text (&cipher, "none") && take (&c, &kdf) && take (&c, &options)
           && c.length >= 4 && h2k_be32 (c.data) == 1;
    }
  if (ok)
    {
      c = (Cursor){c.data + 4, c.length - 4};
      ok = take (&c, &blob) && read_public (blob, info);
    }
  if (ok)
    info->fingerprint = h2k_ssh_fingerprint (blob.data, blob.length);
  info->form = H2K_SSH_FORM_OPENSSH;
  if (binary)
    explicit_bzero (binary, length);
  if (body)
    explicit_bzero (body, strlen (body));
  g_free (binary);
  return ok;
}

static gboolean
read_pem (const char *text, const char *public_line, H2kSshKeyInfo *info)
{
  static const struct
  {
    const char *head;
    H2kSshKind kind;
    guint bits; /* when there is nothing else that tells */
  } heads[] = {
      {"-----BEGIN RSA PRIVATE KEY-----", H2K_SSH_RSA, 3072},
      {"-----BEGIN DSA PRIVATE KEY-----", H2K_SSH_DSA, 1024},
      {"-----BEGIN EC PRIVATE KEY-----", H2K_SSH_ECDSA, 256},
  };
  gboolean known = public_line && read_public_line (public_line, info);

  info->form = H2K_SSH_FORM_PEM;
  if (strstr (text, "ENCRYPTED"))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (heads); i++)
    if (g_str_has_prefix (text, heads[i].head))
      {
        if (known && info->kind == heads[i].kind)
          return TRUE;
        g_clear_pointer (&info->fingerprint, g_free);
        info->kind = heads[i].kind;
        info->bits = heads[i].bits;
        return TRUE;
      }
  /* PKCS #8 does not name the kind where it is easily seen. */
  return known && g_str_has_prefix (text, "-----BEGIN PRIVATE KEY-----");
}

gboolean
h2k_ssh_key_identify (GBytes *data, const char *public_line, H2kSshKeyInfo *info)
{
  static const char openssh[] = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
  gsize length;
  const guint8 *bytes = g_bytes_get_data (data, &length);
  char *text = g_strndup (bytes ? (const char *)bytes : "", length);
  gboolean ok;

  *info = (H2kSshKeyInfo){.form = H2K_SSH_FORM_DROPBEAR};
  if (g_str_has_prefix (text, openssh))
    ok = read_openssh (text + strlen (openssh), info);
  else if (*text == '-')
    ok = read_pem (text, public_line, info);
  else
    ok = read_public ((Cursor){bytes, length}, info);
  explicit_bzero (text, strlen (text));
  g_free (text);
  if (!ok)
    g_clear_pointer (&info->fingerprint, g_free);
  return ok;
}
