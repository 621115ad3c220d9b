-- Made by edwh-migrate 2.1.0 (pydal) in an empty PostgreSQL database: two migrations installed, one failed.
CREATE TABLE public.customer (
    id integer NOT NULL,
    name character varying(80)
);
CREATE TABLE public.ewh_implemented_features (
    id integer NOT NULL,
    name character varying(512),
    installed character(1),
    last_update_dttm timestamp without time zone
);
CREATE SEQUENCE public.ewh_implemented_features_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.ewh_implemented_features_id_seq OWNED BY public.ewh_implemented_features.id;
CREATE TABLE public.invoice (
    id integer NOT NULL,
    customer integer
);
ALTER TABLE ONLY public.ewh_implemented_features ALTER COLUMN id SET DEFAULT nextval('public.ewh_implemented_features_id_seq'::regclass);
INSERT INTO public.ewh_implemented_features VALUES (1, 'create_customer_20250101_001', 'T', '2026-11-23 09:49:34');
INSERT INTO public.ewh_implemented_features VALUES (2, 'add_invoice_20250102_001', 'T', '2026-11-23 09:49:34');
INSERT INTO public.ewh_implemented_features VALUES (3, 'import_failed_20250103_001', 'F', '2026-11-23 09:49:34');
SELECT pg_catalog.setval('public.ewh_implemented_features_id_seq', 3, true);
ALTER TABLE ONLY public.customer
    ADD CONSTRAINT customer_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ewh_implemented_features
    ADD CONSTRAINT ewh_implemented_features_name_key UNIQUE (name);
ALTER TABLE ONLY public.ewh_implemented_features
    ADD CONSTRAINT ewh_implemented_features_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.invoice
    ADD CONSTRAINT invoice_pkey PRIMARY KEY (id);
