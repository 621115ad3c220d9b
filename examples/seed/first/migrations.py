import pydal  # the documentation leaves this line out, and `CREATE TABLE ...` unfinished; the rest is word for word

from edwh_migrate import migration

@migration
def feature_1(db):
    print("feature_1")
    return True

@migration(requires=[feature_1])
def functionalname_date_sequencenr(db: pydal.DAL):
    db.executesql("""
    CREATE TABLE feature (id INTEGER PRIMARY KEY)
    """)
    db.commit()
    return True
